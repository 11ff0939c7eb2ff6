# SPDX-License-Identifier: MIT
"""Files are replaced in one step: full disks, killed processes, permissions, links, pipes."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

import unrolled
from unrolled.cli import main
from unrolled.files import replacing

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "mackey_glass"
MODEL = EXAMPLE / "mackey_glass.keras"
OLD = "what was there"

posix = pytest.mark.skipif(os.name == "nt", reason="about POSIX files")


def write_commands(folder):
    """Every way to write a file: the command or function, and the file."""
    x = EXAMPLE / "test.csv"

    def predict(path):
        return lambda: main(["predict", str(MODEL), str(x), "-o", str(path)])

    def convert(path):
        return lambda: main(["convert", str(MODEL), str(path)])

    def save(path):
        return lambda: len(unrolled.load_model(MODEL).save(path))

    return [(way(folder / name), folder / name) for way, name in (
        (predict, "y.csv"), (predict, "y.npy"), (predict, "y.npz"), (convert, "converted.keras"), (save, "saved.keras")
    )]  # fmt: skip


def child(program, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        **options,
    )


# A limit on the size of files stands for a full disk: writing fails in the same calls.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from unrolled.cli import main
sys.exit(main(sys.argv[1:]))
"""


@posix
@pytest.mark.parametrize("name", ["y.csv", "y.npy", "y.npz", "new.keras"])
@pytest.mark.parametrize("exists", [True, False])
def test_a_full_disk_leaves_what_was_there_and_names_the_file(tmp_path, name, exists):
    path = tmp_path / name
    if exists:
        path.write_text(OLD)
    if name == "new.keras":
        arguments = ["convert", MODEL, path]
    else:
        arguments = ["predict", MODEL, EXAMPLE / "test.csv", "-o", path]
    with child(LIMITED, *arguments) as process:
        out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err == f"unrolled: {path}: File too large\n"
    assert [found.name for found in tmp_path.iterdir()] == ([name] if exists else [])
    if exists:
        assert path.read_text() == OLD


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_standard_output_is_named():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "unrolled", "predict", MODEL, EXAMPLE / "test.csv"],
            stdout=full, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "unrolled: the standard output: No space left on device\n")


WAITING = """
import sys, time
from unrolled.files import replacing
with replacing(sys.argv[1]) as file:
    file.write(b"half")
    file.flush()
    print("written", flush=True)
    time.sleep(600)
"""


@posix
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_stopped_leaves_the_old_file_whole(tmp_path, number):
    path = tmp_path / "y.csv"
    path.write_text(OLD)
    with child(WAITING, path) as process:
        assert process.stdout.readline() == "written\n"
        process.send_signal(number)
        process.wait()
    assert path.read_text() == OLD
    if number == signal.SIGINT:
        assert list(tmp_path.iterdir()) == [path]


def test_an_error_while_writing_leaves_nothing_behind(tmp_path):
    path = tmp_path / "y.csv"
    with pytest.raises(TypeError), replacing(path) as file:
        file.write(b"half" + 1)
    assert list(tmp_path.iterdir()) == []


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_a_file_keeps_its_mode_and_a_new_one_gets_that_of_the_umask(tmp_path, mode):
    before = os.umask(0o027)
    try:
        for write, path in write_commands(tmp_path):
            path.write_text(OLD)
            path.chmod(mode)
            assert write() == 0
            assert stat.S_IMODE(path.stat().st_mode) == mode
            path.unlink()
            assert write() == 0
            assert stat.S_IMODE(path.stat().st_mode) == 0o640
    finally:
        os.umask(before)


@posix
def test_nobody_else_reads_the_new_content_of_a_private_file(tmp_path):
    path = tmp_path / "y.csv"
    path.write_text(OLD)
    path.chmod(0o600)
    with replacing(path) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


@posix
def test_a_symbolic_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    for write, path in write_commands(tmp_path / "links"):
        target = tmp_path / "real" / path.name
        target.write_text(OLD)
        path.symlink_to(Path("..") / "real" / path.name)
        assert write() == 0
        assert path.is_symlink()
        assert target.read_bytes() != OLD.encode()
        target.unlink()  # a link to nothing: what it names comes to be
        assert write() == 0
        assert path.is_symlink()
        assert target.stat().st_size > 0
    assert len(list((tmp_path / "real").iterdir())) == len(list((tmp_path / "links").iterdir())) == 5
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="loop"), replacing(tmp_path / "loop"):
        pass


@pytest.fixture
def ordinary_user():
    """A folder outside of pytest's own, and no rights of root while the test runs."""
    folder = Path(tempfile.mkdtemp())
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        folder.chmod(0o700)
        for path in folder.iterdir():
            path.unlink()
        if is_root:
            os.seteuid(0)
        folder.rmdir()


@posix
def test_a_folder_or_file_without_permission_to_write_is_an_error_that_names_the_file(ordinary_user):
    path = ordinary_user / "y.csv"
    path.write_text(OLD)
    path.chmod(0o400)
    with pytest.raises(PermissionError) as caught, replacing(path) as file:
        file.write(b"new")
    assert caught.value.filename == str(path)
    path.chmod(0o600)
    ordinary_user.chmod(0o500)
    for target in (path, ordinary_user / "new.csv"):
        with pytest.raises(PermissionError) as caught, replacing(target) as file:
            file.write(b"new")
        assert caught.value.filename == str(target)
    assert path.read_text() == OLD
    assert [found.name for found in ordinary_user.iterdir()] == ["y.csv"]


@posix
def test_a_pipe_is_written_to_and_stays_a_pipe(tmp_path):
    path = tmp_path / "y.csv"
    os.mkfifo(path)
    received = []
    reader = threading.Thread(target=lambda: received.append(path.read_text()))
    reader.start()
    assert main(["predict", str(MODEL), str(EXAMPLE / "test.csv"), "-o", str(path)]) == 0
    reader.join(60)
    keras = np.loadtxt(EXAMPLE / "keras_forecast.csv")
    np.testing.assert_allclose([float(line) for line in received[0].split()], keras, rtol=0, atol=2e-6)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="there is no /dev/stdout")
def test_the_standard_output_is_written_to_whatever_it_is(tmp_path):
    (tmp_path / "link").symlink_to("/dev/stdout")
    program = "import sys, unrolled.files as f\nwith f.replacing(sys.argv[1]) as file: file.write(b'new')"
    for name in ("/dev/stdout", tmp_path / "link"):
        with child(program, name) as process:
            assert process.communicate() == ("new", "")
        with open(tmp_path / "out", "w+") as out:
            number = os.fstat(out.fileno()).st_ino
            subprocess.run([sys.executable, "-c", program, str(name)], stdout=out, check=True)
            assert (tmp_path / "out").read_text() == "new"
            assert os.stat(tmp_path / "out").st_ino == number


def test_a_folder_is_no_target(tmp_path):
    (tmp_path / "y.csv").mkdir()
    with pytest.raises(OSError, match=r"y\.csv"), replacing(tmp_path / "y.csv"):
        pass
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "nowhere" / "y.csv"):
        pass
    assert caught.value.filename == str(tmp_path / "nowhere" / "y.csv")


@posix
def test_the_longest_name_is_no_trouble(tmp_path):
    path = tmp_path / ("ü" * 125 + ".csv")
    with replacing(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"

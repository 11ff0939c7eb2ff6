# SPDX-License-Identifier: MIT
"""Write the fixtures with real Keras: ``python -m tests.data.make_fixtures [--check] [keras|tf_keras]``.

Needs the extra ``oracle`` (keras, tensorflow, tf_keras). Writes ``keras3.tar.xz`` and ``tf_keras.tar.xz``,
which hold for every case the file(s) that Keras saved and a ``.npz`` with ``w*`` (the weights, as get_weights
gives them), ``x`` and ``y*`` (input and outputs as Keras computes them; ``x_1``, ``y0_1`` and so on for
further calls of stateful models), the layer calls of ``calls.py``, and the two ``index_*.json``, which describe them.
They are archives because an HDF5 file of a small model is nearly all zeros.

``--check`` writes into a temporary folder instead and fails where configs, weights or numbers differ from
what is stored.
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ARCHIVES = {"keras": "keras3", "tf_keras": "tf_keras"}
# Regenerated numbers may differ in the last bits between processors.
CHECK_TOLERANCE = 1e-5


def seed_of(name):
    return zlib.crc32(name.encode())


def load_keras(which):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    for logger in ("absl", "tensorflow"):  # each file in a legacy format is warned of
        logging.getLogger(logger).setLevel("ERROR")
    if which == "keras":
        import keras

        return keras
    import tf_keras

    return tf_keras


def save(keras, model, format, folder, name):
    """Store ``model`` in ``format``; the name of the file to load, and of its weights or None."""
    if format in ("keras", "h5"):
        path = f"{name}.{format}"
        model.save(folder / path)
        return path, None
    (folder / f"{name}.json").write_text(model.to_json())
    weights = {
        "json_weights_h5": f"{name}.weights.h5",
        "json_old_weights_h5": f"{name}_weights.h5",
        "json_sharded": f"{name}.weights.json",
    }[format]
    if format == "json_sharded":
        model.save_weights(folder / weights, max_shard_size=1e-6)
    else:
        model.save_weights(folder / weights)
    return f"{name}.json", weights


def run(model, x, case):
    """The outputs as a flat list."""
    if case.get("call"):
        y = model(x)
    else:
        batch = case["recipe"].get("batch_size") or len(x)
        y = model.predict(x, batch_size=batch, verbose=0)
    y = list(y) if isinstance(y, list | tuple) else [y]
    return [np.asarray(array) for array in y]


def write_case(keras, case, folder):
    from tests.recipes import build_model, random_input, randomize_weights

    name, recipe = case["name"], case["recipe"]
    seed = seed_of(name)
    rng = np.random.default_rng(seed)
    keras.backend.clear_session()
    model = build_model(keras, recipe)
    randomize_weights(model, rng)
    path, weights_path = save(keras, model, case["format"], folder, name)
    arrays = {f"w{i}": w for i, w in enumerate(model.get_weights())}
    shape = [6 if size is None else size for size in recipe["input_shape"]]
    for call in range(case.get("calls", 1)):
        suffix = f"_{call}" if call else ""
        x = random_input(recipe | {"input_shape": shape}, rng)
        arrays[f"x{suffix}"] = x
        for i, y in enumerate(run(model, x, case)):
            arrays[f"y{i}{suffix}"] = y
    np.savez(folder / f"{name}.npz", **arrays)
    entry = {"name": name, "file": path, "weights": weights_path, "seed": seed}
    entry |= {key: case[key] for key in ("format", "calls", "call", "tolerance") if key in case}
    return entry | {"recipe": recipe}


def write_cudnn(folder):
    """CuDNNLSTM and CuDNNGRU run on a GPU only: Keras writes the file, its LSTM and GRU give the numbers."""
    import tf_keras
    from tf_keras.src.layers.rnn.cudnn_gru import CuDNNGRU
    from tf_keras.src.layers.rnn.cudnn_lstm import CuDNNLSTM

    from tests.recipes import build_model, randomize_weights

    entries = []
    for name, cudnn, portable in (
        ("cudnn_lstm", CuDNNLSTM, {"class": "LSTM", "units": 4, "return_sequences": True}),
        ("cudnn_gru", CuDNNGRU, {"class": "GRU", "units": 3, "reset_after": True}),
    ):
        seed = seed_of(name)
        rng = np.random.default_rng(seed)
        tf_keras.backend.clear_session()
        options = {key: value for key, value in portable.items() if key not in ("class", "reset_after")}
        model = tf_keras.Sequential([tf_keras.Input((5, 3)), cudnn(**options)])
        randomize_weights(model, rng)
        model.save_weights(folder / f"{name}.weights_only.h5")
        model.save(folder / f"{name}.h5")
        recipe = {"layers": [portable], "input_shape": [5, 3]}
        reference = build_model(tf_keras, recipe)
        reference.load_weights(folder / f"{name}.weights_only.h5")
        (folder / f"{name}.weights_only.h5").unlink()
        x = rng.standard_normal((4, 5, 3)).astype(np.float32)
        arrays = {f"w{i}": w for i, w in enumerate(reference.get_weights())}
        np.savez(folder / f"{name}.npz", x=x, y0=reference.predict(x, verbose=0), **arrays)
        entries.append(
            {
                "name": name,
                "file": f"{name}.h5",
                "weights": None,
                "seed": seed,
                "format": "h5",
                "recipe": recipe,
            }
        )
    return entries


def write_archive(path, folder):
    """All files of ``folder``, those of a kind together; without times, so that equal files make equal bytes."""
    with tarfile.open(path, "w:xz", preset=9) as archive:
        files = [file for file in folder.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: (file.suffix, file.relative_to(folder).as_posix())):
            content = file.read_bytes()
            info = tarfile.TarInfo(file.relative_to(folder).as_posix())
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def read_archive(path):
    """Name to content."""
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def write_all(which, target):
    from tests.data import calls, cases

    keras = load_keras(which)
    archive = ARCHIVES[which]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        entries = []
        for case in cases.cases(which):
            try:
                entries.append(write_case(keras, case, folder))
            except Exception as error:
                error.add_note(f"in case {case['name']}")
                raise
        if which == "tf_keras":
            entries += write_cudnn(folder)
        arrays, call_entries = calls.write(keras, which)
        np.savez(folder / "calls.npz", **arrays)
        write_archive(target / f"{archive}.tar.xz", folder)
    index = {"keras": keras.__version__, "writer": which, "fixtures": entries, "calls": call_entries}
    lines = [
        f'{{"keras": {json.dumps(index["keras"])}, "writer": {json.dumps(which)}, "fixtures": [',
        ",\n".join(json.dumps(entry) for entry in entries),
        '], "calls": [',
        ",\n".join(json.dumps(entry) for entry in call_entries),
        "]}",
    ]
    (target / f"index_{archive}.json").write_text("\n".join(lines) + "\n")
    if which == "keras":
        from tests.data import summaries

        summaries.write(keras, target)


def differences(which, fresh):
    """What differs between the stored fixtures and those in the folder ``fresh``."""
    archive = ARCHIVES[which]
    found = []
    stored_index, fresh_index = (
        json.loads((folder / f"index_{archive}.json").read_text()) for folder in (HERE, fresh)
    )
    if stored_index != fresh_index:
        found.append(f"index_{archive}.json differs")
    if which == "keras":
        from tests.data import summaries

        found += summaries.differences(HERE, fresh)
    old, new = (read_archive(folder / f"{archive}.tar.xz") for folder in (HERE, fresh))
    if sorted(old) != sorted(new):
        return [*found, f"{archive}.tar.xz: other files {sorted(set(old) ^ set(new))}"]
    for name in old:
        found += [
            f"{archive}.tar.xz, {name}: {what}" for what in _file_differences(name, old[name], new[name])
        ]
    return found


def _config(archive):
    """The config of a ``.keras`` without the ids of shared objects, which are addresses in memory."""

    def without_ids(pairs):
        return {key: value for key, value in pairs if key != "shared_object_id"}

    return json.loads(archive.read("config.json"), object_pairs_hook=without_ids)


def _file_differences(name, old, new):
    if name.endswith(".npz"):
        a, b = np.load(io.BytesIO(old)), np.load(io.BytesIO(new))
        if sorted(a.files) != sorted(b.files):
            return ["other arrays"]
        return [
            f"array {key}"
            for key in a.files
            if a[key].shape != b[key].shape
            or not np.allclose(a[key], b[key], CHECK_TOLERANCE, CHECK_TOLERANCE, equal_nan=True)
        ]
    if name.endswith(".keras"):
        with zipfile.ZipFile(io.BytesIO(old)) as a, zipfile.ZipFile(io.BytesIO(new)) as b:
            same = a.namelist() == b.namelist() and _config(a) == _config(b)
        return [] if same else ["config.json"]
    if name.endswith(".h5"):
        import h5py

        with h5py.File(io.BytesIO(old)) as a, h5py.File(io.BytesIO(new)) as b:
            same = a.attrs.get("model_config") == b.attrs.get("model_config")
        return [] if same else ["model_config"]
    return [] if old == new else ["contents"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("writers", nargs="*", choices=[*ARCHIVES, []], help="default: both")
    parser.add_argument("--check", action="store_true", help="compare with what is stored, write nothing")
    arguments = parser.parse_args()
    writers = arguments.writers or list(ARCHIVES)
    if len(writers) > 1:
        # The two Kerases do not share a process: names and global state would mix.
        options = ["--check"] if arguments.check else []
        codes = [
            subprocess.call([sys.executable, "-m", "tests.data.make_fixtures", w, *options]) for w in writers
        ]
        return max(codes)
    (which,) = writers
    with tempfile.TemporaryDirectory() as scratch:
        write_all(which, Path(scratch))
        if arguments.check:
            found = differences(which, Path(scratch))
            print("\n".join(found) or f"{which}: nothing differs")
            return 1 if found else 0
        for file in Path(scratch).iterdir():
            shutil.copy(file, HERE / file.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())

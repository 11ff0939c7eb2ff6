# SPDX-License-Identifier: MIT
"""Debian systems in folders: made by mmdebstrap, kept between runs, entered by chroot. Needs root."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

# The certificates and addresses that pip and apt use on this system hold in the root too.
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
FROM_HOST = (CERTIFICATES, Path("/etc/resolv.conf"), Path("/etc/hosts"))
PACKAGES = ("python3", "python3-venv", "ca-certificates")
COMPILER = ("g++", "python3-dev")
BINFMT = Path("/proc/sys/fs/binfmt_misc")


class RootError(RuntimeError):
    """A root could not be made or entered; the message says what to do."""


@dataclass(frozen=True)
class Root:
    """One Debian system.

    Parameters
    ----------
    folder : Path
        Where it lies.
    suite : str
        Debian's name of the release: "bookworm", "trixie", "sid".
    architecture : str
        Debian's name: "amd64", "arm64".
    packages : tuple of str
        Installed beyond Debian's minimum.
    """

    folder: Path
    suite: str
    architecture: str
    packages: tuple[str, ...]

    def make(self) -> None:
        """Make the root, unless a run before made it.

        Raises
        ------
        RootError
            mmdebstrap is missing or failed, or the architecture needs an emulator that is not there.
        """
        done = self.folder / ".made"
        if done.exists() and done.read_text(encoding="utf-8") == self._description():
            return
        if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
            raise RootError("run as root, with mmdebstrap installed (apt-get install mmdebstrap)")
        if self.architecture != native_architecture():
            enable_emulation()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        log = self.folder.with_suffix(".log")
        with log.open("w", encoding="utf-8") as out:
            made = subprocess.run(
                ["mmdebstrap", "--mode=root", "--variant=minbase", f"--architectures={self.architecture}",
                 f"--include={','.join(self.packages)}", self.suite, str(self.folder)],
                stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        if made.returncode != 0:
            raise RootError(f"mmdebstrap failed, see {log}")
        for file in FROM_HOST:
            if file.exists():
                shutil.copyfile(file, self.folder / file.relative_to("/"))
        done.write_text(self._description(), encoding="utf-8")

    def run(self, command: Sequence[str], log: Path, *, timeout: float | None = None, **env: str) -> int:
        """Run ``command`` in the root and append what it prints to ``log``.

        Parameters
        ----------
        command : sequence of str
            Program and arguments.
        log : Path
            A file of this system.
        timeout : float, optional
            Seconds after which the command is ended.
        **env : str
            Environment of the command, beside PATH, HOME and what pip needs.

        Returns
        -------
        int
            The exit status; 124 where the time was up.
        """
        proc = self.folder / "proc"
        mounts = [(["-t", "proc", "proc"], proc), (["--bind", "/dev"], self.folder / "dev")]
        for options, target in mounts:
            subprocess.run(["mount", *options, str(target)], check=True)
        environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/root", "LANG": "C.UTF-8",
            "PIP_CERT": str(CERTIFICATES), "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore",
            **{key: os.environ[key] for key in ("PIP_INDEX_URL", "PIP_DEFAULT_TIMEOUT") if key in os.environ},
            **env,
        }  # fmt: skip
        try:
            with log.open("a", encoding="utf-8") as out:
                out.write(f"$ {' '.join(command)}\n")
                out.flush()
                done = subprocess.run(
                    ["chroot", str(self.folder), *command],
                    stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environment,
                    timeout=timeout,
                )  # fmt: skip
            return done.returncode
        except subprocess.TimeoutExpired:
            return 124
        finally:
            for _, target in reversed(mounts):
                subprocess.run(["umount", "--lazy", str(target)], check=False)

    def output(self, command: Sequence[str]) -> str:
        """What ``command`` prints in the root, without the line's end; empty where it fails."""
        done = subprocess.run(
            ["chroot", str(self.folder), *command], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    def _description(self) -> str:
        return f"{self.suite} {self.architecture} {' '.join(self.packages)}\n"


def native_architecture() -> str:
    """Debian's name of this system's architecture."""
    done = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def enable_emulation() -> None:
    """Have the kernel run programs for arm64 by qemu-user.

    Raises
    ------
    RootError
        qemu-user-static is not installed, or the kernel does not let binfmt_misc be registered.
    """
    if shutil.which("qemu-aarch64-static") is None:
        raise RootError("install the emulator: apt-get install qemu-user-static")
    if not (BINFMT / "register").exists():
        with suppress(OSError):
            subprocess.run(["mount", "-t", "binfmt_misc", "none", str(BINFMT)], check=False)
    if not (BINFMT / "qemu-aarch64").exists():
        # The ELF header of a little-endian AArch64 program; F: the emulator is opened now, so that it is
        # found inside of a root too.
        magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
        mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
        try:
            (BINFMT / "register").write_text(
                f":qemu-aarch64:M::{magic}:{mask}:{shutil.which('qemu-aarch64-static')}:F", encoding="utf-8"
            )
        except OSError as error:
            raise RootError(f"binfmt_misc cannot be registered here: {error}") from error

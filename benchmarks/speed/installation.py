"""What is measured, installed once and kept: each folder is named by what it was made from."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from uv import find_uv_bin

from benchmarks.speed.errors import BenchError, MissingError
from benchmarks.speed.process import ROOT
from tests.e2e.conftest import ARCHITECTURES, BOTO3, RUNTIME

KEPT = ROOT / ".venv-bench"
PEERS = ROOT / "benchmarks/speed/peers"
REQUIREMENTS = ROOT / "benchmarks/speed/requirements.txt"
PLATFORMS = {"x86_64": "x86_64-manylinux_2_34", "arm64": "aarch64-manylinux_2_34"}
UV = find_uv_bin()

UNREACHABLE = re.compile(r"Failed to fetch|error sending request|dns error|Connection refused")


@dataclass(frozen=True)
class Size:
    """Bytes of a folder's files, and of the archive that would be uploaded."""

    unzipped: int
    zipped: int


def run(*command: str | Path) -> None:
    """Run a command; without the package index, what it installs is missing."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = (done.stdout + done.stderr).strip()
    if done.returncode:
        kind = MissingError if UNREACHABLE.search(output) else BenchError
        raise kind(f"{Path(command[0]).name} failed: {output[-1000:]}")


def kept(name: str, made_from: Iterable[str | bytes], make: Callable[[Path], None]) -> Path:
    """Return a folder that was made before from the same, or make it, in place of others so named.

    How long that took is written beside it.
    """
    digest = hashlib.sha256()
    for part in made_from:
        digest.update(part.encode() if isinstance(part, str) else part)
    folder = KEPT / f"{name}-{digest.hexdigest()[:16]}"
    record = folder.with_suffix(".json")
    if record.exists():
        return folder
    KEPT.mkdir(exist_ok=True)
    (KEPT / ".gitignore").write_text("*\n")
    for old in [*KEPT.glob(f"{name}-{'?' * 16}"), *KEPT.glob(f"{name}-{'?' * 16}.json")]:
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    began = time.perf_counter()
    make(folder)
    record.write_text(json.dumps({"made": time.time(), "seconds": time.perf_counter() - began}))
    return folder


def seconds_to_make(since: float = 0.0) -> float:
    """Return how long it took to make what is kept, or what of it was made since a time."""
    records = [json.loads(path.read_text()) for path in KEPT.glob("*.json")]
    return sum(record["seconds"] for record in records if record["made"] >= since)


def size(folder: Path) -> Size:
    """Return how large a package is; what was measured once is kept."""
    record = folder.with_suffix(".json")
    known = json.loads(record.read_text())
    if "zipped" not in known:
        files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
        with TemporaryFile() as archive:
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
                for file in files:
                    packed.write(file, file.relative_to(folder))
            known["zipped"] = archive.tell()
        known["unzipped"] = sum(file.stat().st_size for file in files)
        record.write_text(json.dumps(known))
    return Size(known["unzipped"], known["zipped"])


def files_below(folder: Path) -> Iterable[str | bytes]:
    """Yield names and contents of the sources below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts and ".egg-info" not in str(path):
            yield str(path.relative_to(folder))
            yield path.read_bytes()


@dataclass(frozen=True)
class Installation:
    """What there is for one Python: 3.13, as the Lambda has it."""

    python: Path

    @classmethod
    def find(cls) -> Installation:
        """Find Python 3.13 as the package's build does.

        Raises
        ------
        MissingError
            If there is none.
        """
        done = subprocess.run(
            [UV, "python", "find", "3.13", "--no-python-downloads"],
            env=os.environ | {"PYENV_VERSION": "3.13"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise MissingError("no Python 3.13 was found here")
        return cls(Path(done.stdout.strip()))

    @property
    def architecture(self) -> str:
        """Lambda's name for this machine's; raises `MissingError` where it has none."""
        if platform.system() != "Linux" or platform.machine() not in ARCHITECTURES:
            raise MissingError("the package's wheels are for Linux on x86_64 or arm64")
        return ARCHITECTURES[platform.machine()]

    def python_of_peers(self) -> Path:
        """Return a Python that has the libraries of the bench's requirements."""

        def make(folder: Path) -> None:
            run(UV, "venv", "--quiet", "--python", self.python, folder)
            python = folder / "bin/python"
            run(*self._pip, "--compile-bytecode", "--python", python, "-r", REQUIREMENTS)

        made_from = [str(self.python), REQUIREMENTS.read_text()]
        return kept("libraries", made_from, make) / "bin/python"

    def runtime(self) -> Path:
        """Return what Lambda's image holds: its interface client and boto3, with bytecode."""

        def make(folder: Path) -> None:
            run(*self._pip, "--python", self.python, "--target", folder, RUNTIME, BOTO3)
            self._compile(folder)

        return kept("runtime", [str(self.python), RUNTIME, BOTO3], make)

    def peer(self, name: str, architecture: str, *, has_bytecode: bool) -> Path:
        """Return the package of a peer as `sam build` makes it, or the same with bytecode."""
        source = PEERS / name

        def make(folder: Path) -> None:
            folder.mkdir()
            requirements = source / "requirements.txt"
            if requirements.exists():
                run(
                    *(*self._pip, "-r", requirements, "--target", folder),
                    *("--python-version", "3.13", "--python-platform", PLATFORMS[architecture]),
                )
            shutil.copy(source / "app.py", folder)
            if has_bytecode:
                self._compile(folder)

        kind = f"{name}-{architecture}" + ("-bytecode" if has_bytecode else "")
        return kept(kind, [str(self.python), kind, *files_below(source)], make)

    def package(self, architecture: str, *, has_bytecode: bool) -> Path:
        """Return this project's package, as its own build makes it, with or without Python 3.13."""

        def make(folder: Path) -> None:
            folder.mkdir()
            run(
                *("make", "-C", ROOT / "functions", "build-ApiFunction", f"UV={UV}"),
                *(f"ARTIFACTS_DIR={folder}", f"ARCHITECTURE={architecture}"),
                *(() if has_bytecode else ("PYTHON313=",)),
            )

        kind = f"package-{architecture}" + ("" if has_bytecode else "-sources")
        return kept(kind, [str(self.python), *files_below(ROOT / "functions")], make)

    @property
    def _pip(self) -> tuple[str, ...]:
        return (UV, "pip", "install", "--quiet", "--only-binary", ":all:")

    def _compile(self, folder: Path) -> None:
        mode = ("--invalidation-mode", "unchecked-hash")
        run(self.python, "-m", "compileall", "-q", "-j", "0", *mode, folder)

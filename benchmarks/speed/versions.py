"""What was measured, in versions."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.speed.errors import MissingError
from benchmarks.speed.installation import PEERS, REQUIREMENTS, Installation
from benchmarks.speed.process import ROOT
from tests.e2e.conftest import RUNTIME

OURS = ("aws-lambda-powertools", "msgspec", "numpy", "obstore", "safetensors")
TUTORIALS = ("aws-lambda-powertools", "boto3", "numpy", "pandas", "scikit-learn")
LIBRARIES = ("fastapi", "onnxruntime", "river", "scikit-learn", "skl2onnx", "treelite")
NETWORKS = ("jax", "keras", "torch")


def facts(installed: Installation | None) -> dict[str, str]:
    """Return the versions of everything that is measured."""
    told = {
        "This project": pinned(ROOT / "functions/requirements.txt", OURS),
        "Tutorial": pinned(PEERS / "tutorial/requirements.txt", TUTORIALS),
        "Libraries": pinned(REQUIREMENTS, LIBRARIES),
        "Networks": ", ".join(here(NETWORKS)),
    }
    if installed is None:
        return {"Python": sys.version.split()[0], **told}
    asked = [installed.python, "-c", "import sys; print(sys.version.split()[0])"]
    python = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    networks = sys.version.split()[0]
    return {"Python": f"{python}; networks: {networks}; {RUNTIME}", **told}


def find_installation() -> Installation | None:
    """Return what is installed for Python 3.13, or None where there is none."""
    try:
        return Installation.find()
    except MissingError:
        return None


def pinned(requirements: Path, names: Iterable[str]) -> str:
    """Return the pins of a requirements file."""
    pins = dict(re.findall(r"^([\w-]+)==(\S+)", requirements.read_text(), re.MULTILINE))
    return ", ".join(f"{name} {pins[name]}" for name in names if name in pins)


def here(names: Iterable[str]) -> Iterable[str]:
    """Yield what is installed beside this project."""
    for name in names:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"no {name}"

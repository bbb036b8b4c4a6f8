"""The package as `sam build` makes it, and the real Lambda runtime to run it on this machine."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from uv import find_uv_bin

from benchmarks.speed.installation import ARCHITECTURES, BOTO3, ROOT, RUNTIME, UNREACHABLE
from tests.support.cloudformation import FUNCTIONS


def run(*command: str) -> str:
    """Run a command that needs the package index; without the index the test is skipped."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if done.returncode != 0 and UNREACHABLE.search(output):
        pytest.skip(f"the package index can't be reached: {output[-300:]}")
    assert done.returncode == 0, output
    return output


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that builds the deployed folder, once for the same arguments."""

    @cache
    def build(architecture: str, *variables: str, function: str = "ApiFunction") -> Path:
        # as SAM does: in a copy of the code's folder, by the Makefile of the folder itself
        target, copy = tmp_path_factory.mktemp("package"), tmp_path_factory.mktemp("copy")
        code = ROOT / FUNCTIONS[function]["CodeUri"]
        shutil.copytree(code, copy, dirs_exist_ok=True)
        run(
            *("make", "-C", str(copy), "--makefile", str(code / "Makefile"), f"build-{function}"),
            *(f"UV={find_uv_bin()}", f"ARTIFACTS_DIR={target}", f"ARCHITECTURE={architecture}"),
            *variables,
        )
        return target

    return build


@pytest.fixture(scope="session")
def architecture() -> str:
    """Return the architecture whose packages run on this machine."""
    known = ARCHITECTURES.get(platform.machine())
    if known is None or platform.system() != "Linux":
        pytest.skip("the package's wheels are for Linux on x86_64 or arm64")
    return known


@pytest.fixture(scope="session")
def package(build: Callable[..., Path], architecture: str) -> Path:
    """Return the package that runs on this machine."""
    return build(architecture)


@pytest.fixture(scope="session")
def python313() -> str:
    """Return the Lambda's Python, found as the build finds it."""
    found = subprocess.run(
        [find_uv_bin(), "python", "find", "3.13", "--no-python-downloads"],
        env=os.environ | {"PYENV_VERSION": "3.13"},
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        pytest.skip("no Python 3.13 was found here")
    return found.stdout.strip()


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory, python313: str) -> Path:
    """Return a folder with the libraries of Lambda's own image: its interface client, and boto3."""
    target = tmp_path_factory.mktemp("runtime")
    run(
        *(find_uv_bin(), "pip", "install", RUNTIME, BOTO3, "--target", str(target)),
        *("--python", python313, "--only-binary", ":all:"),
    )
    return target

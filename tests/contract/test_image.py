"""The container image: what is copied into it, what it runs, and as whom."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

FAKE_PYTHON = """#!/bin/sh
printf '[%s]' "$@"
"""


def test_everything_that_is_packaged_is_copied_except_the_benchmarks() -> None:
    find = PROJECT["tool"]["setuptools"]["packages"]["find"]
    packages = {name.rstrip("*") for name in find["include"]} - {"benchmarks", "ops_anomaly"}
    copied = re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert packages <= set(copied)
    assert {"functions", "events"} <= set(copied)


def test_the_extras_exist() -> None:
    extras = set(re.findall(r"--extra (\w+)", DOCKERFILE))
    assert extras == {"training", "local"}
    assert extras <= set(PROJECT["project"]["optional-dependencies"])


def test_the_base_has_a_tag_and_the_user_is_not_root() -> None:
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:3.13-slim"}
    assert re.findall(r"^USER (.+)$", DOCKERFILE, re.MULTILINE) == ["1000"]


@pytest.mark.parametrize(
    ("arguments", "run"),
    [
        (["demo"], "[-m][local][demo][--host][0.0.0.0]"),
        (["demo", "--once"], "[-m][local][demo][--host][0.0.0.0][--once]"),
        (["train", "--csv", "my cpu.csv"], "[-m][commands][train][--csv][my cpu.csv]"),
        (["--help"], "[-m][commands][--help]"),
    ],
)
def test_the_entry_point_runs_the_demo_or_a_command(
    arguments: list[str], run: str, tmp_path: Path
) -> None:
    (tmp_path / "python").write_text(FAKE_PYTHON, encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    entry = re.search(r'^ENTRYPOINT \["/app/(.+)"\]$', DOCKERFILE, re.MULTILINE)
    assert entry
    done = subprocess.run(
        [ROOT / entry[1], *arguments],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == run

"""The command line `ops-anomaly`, as a user runs it, in the process of the test."""

from __future__ import annotations

import io
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What a command printed, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


def command(*arguments: str, cwd: Path = ROOT, **environment: str) -> Done:
    """Run `ops-anomaly` with these arguments and variables."""
    out, err = io.StringIO(), io.StringIO()
    wide = {"COLUMNS": "200", "TERMINAL_WIDTH": "200", "NO_COLOR": "1"}
    with (
        pytest.MonkeyPatch.context() as patch,
        chdir(cwd),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        for name, value in (wide | environment).items():
            patch.setenv(name, value)
        from commands.__main__ import main  # its console takes the width as it is imported

        try:
            status = main(arguments)
        except SystemExit as exit_:
            status = exit_.code
    return Done(status, out.getvalue(), err.getvalue())

"""The job's command line, as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def command(
    *arguments: str, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m training` with these arguments and variables."""
    return subprocess.run(
        [sys.executable, "-m", "training", *arguments],
        cwd=cwd,
        env=os.environ
        | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}",
            "COLUMNS": "200",
            "NO_COLOR": "1",
        }
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )

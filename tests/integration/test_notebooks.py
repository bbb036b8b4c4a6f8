"""The notebooks run, cell by cell, each in a folder where nothing was done before."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import matplotlib as mpl
import pytest

from commands.__main__ import main

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def run_command(line: str) -> None:
    """Run what a notebook hands to the shell: a command of ops-anomaly."""
    program, *arguments = shlex.split(line)
    assert program == "ops-anomaly"
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code, line


def as_python(cell: str) -> str:
    """Return a cell's code, with Jupyter's `!command {name}` as a call.

    >>> as_python("!ops-anomaly replay --csv {file}")
    "run_command(f'ops-anomaly replay --csv {file}')"
    """
    return re.sub(r"^!(.+)$", lambda found: f"run_command(f{found[1]!r})", cell, flags=re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_runs(
    path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TERM", "dumb")  # as the notebooks set it; restored afterwards
    monkeypatch.setattr("matplotlib.pyplot.show", lambda: None)
    namespace: dict[str, object] = {"run_command": run_command}
    with mpl.rc_context({"backend": "agg"}):
        for cell in code:
            exec(as_python(cell), namespace)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_title_asks_what_a_user_would_and_no_output_is_kept(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    title = "".join(cells[0]["source"]).splitlines()[0]
    assert title.startswith("# ")
    assert title.endswith("?")
    assert not any(cell.get("outputs") for cell in cells)

"""The rooms and the arrows between them, read from the imports."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "functions"

# room -> the rooms it may import
ARROWS = {
    "functions/detector": set(),
    "functions/registry": {"detector"},
    "functions/api": {"registry", "detector"},
    "functions/watch": {"registry", "detector"},
    "training": {"registry", "detector"},
    "local": {"api", "watch", "registry", "detector", "training"},
}
ROOMS = {Path(place).name for place in ARROWS}


def imports(path: Path) -> Iterator[str]:
    """Yield the top-level name of every import in a file, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("place", ARROWS)
def test_no_arrow_runs_back(place: str) -> None:
    room = Path(place).name
    for path in (ROOT / place).rglob("*.py"):
        foreign = (set(imports(path)) & ROOMS) - ARROWS[place] - {room}
        assert not foreign, f"{path.relative_to(ROOT)} imports {foreign}"


def test_the_detector_knows_numpy_safetensors_and_the_standard_library() -> None:
    allowed = sys.stdlib_module_names | {"numpy", "safetensors", "detector"}
    for path in (FUNCTIONS / "detector").rglob("*.py"):
        assert set(imports(path)) <= allowed, path.name


def test_the_detector_is_pure() -> None:
    impure = {"os", "socket", "urllib", "http", "time", "datetime", "logging", "random", "pathlib"}
    for path in (FUNCTIONS / "detector").rglob("*.py"):
        assert not set(imports(path)) & impure, path.name


def test_nothing_deployed_can_run_code_from_a_file() -> None:
    for path in FUNCTIONS.rglob("*.py"):
        assert not set(imports(path)) & {"pickle", "joblib", "marshal", "shelve", "dill"}, path
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in ("allow_pickle", "eval(", "exec(")), path


def test_only_the_entries_read_the_environment() -> None:
    readers = {
        path.relative_to(FUNCTIONS).as_posix()
        for path in FUNCTIONS.rglob("*.py")
        if "os.environ" in path.read_text(encoding="utf-8")
    }
    assert readers == {"api/handler.py", "watch/handler.py"}


def test_files_stay_small() -> None:
    for place in ("functions", "training", "local", "tests"):
        for path in (ROOT / place).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= 250, f"{path.relative_to(ROOT)} has {lines} lines"

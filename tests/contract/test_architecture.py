"""What the imports and the sources of deployed code may not contain.

`make lint` checks layers and cycles: see `[tool.importlinter]` in pyproject.toml.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "functions" / "ops_anomaly"

IMPURE = {
    *("asyncio", "datetime", "http", "logging", "os", "pathlib", "random", "secrets", "socket"),
    *("subprocess", "threading", "time", "urllib"),
}
UNSAFE = re.compile(r"\b(pickle|joblib|marshal|shelve|dill|allow_pickle|eval\(|exec\()")


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """All imports of the deployed package, those for typing included."""
    return grimp.build_graph("ops_anomaly", include_external_packages=True, cache_dir=None)


def external(imports: grimp.ImportGraph, package: str) -> set[str]:
    """Return the modules outside of `ops_anomaly` that a package imports."""
    modules = {package, *imports.find_descendants(package)}
    found = set().union(*map(imports.find_modules_directly_imported_by, modules))
    return {name for name in found if not name.startswith("ops_anomaly")}


def sources() -> Iterator[tuple[str, str]]:
    """Yield path and text of every deployed module."""
    for path in PACKAGE.rglob("*.py"):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")


def test_detection_needs_numpy_safetensors_and_the_standard_library(
    imports: grimp.ImportGraph,
) -> None:
    allowed = sys.stdlib_module_names | {"numpy", "safetensors"}
    assert external(imports, "ops_anomaly.detection") <= allowed


def test_detection_is_pure(imports: grimp.ImportGraph) -> None:
    assert not external(imports, "ops_anomaly.detection") & IMPURE


def test_the_api_and_detection_import_no_client_of_aws(imports: grimp.ImportGraph) -> None:
    users = {
        library: {name.split(".")[1] for name in imports.find_modules_that_directly_import(library)}
        for library in ("boto3", "botocore", "obstore")
    }
    assert users["obstore"] == {"aws"}
    assert users["boto3"] | users["botocore"] == {"aws", "watcher"}


def test_nothing_deployed_can_run_code_from_a_file() -> None:
    assert [path for path, text in sources() if UNSAFE.search(text)] == []


def test_only_the_handlers_read_the_environment() -> None:
    readers = {path for path, text in sources() if re.search(r"\bos\.(environ|getenv)\b", text)}
    assert readers == {"api/handler.py", "watcher/handler.py"}

"""The deployed package: lean, complete, and right under the real Lambda runtime."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.lambda_runtime import LambdaRuntime

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "events"
PACKAGE = "ops_anomaly"
NOT_DEPLOYED = (
    *("sklearn", "scipy", "pandas", "joblib", "keras", "jax", "matplotlib"),
    *(
        "boto3",
        "botocore",
        "moto",
        "pytest",
        "pydantic",
        "tests",
        "training",
        "commands",
        "local",
        "benchmarks",
    ),
    *("Makefile", "requirements.txt", "bin", ".lock"),
)
# Lambda takes 250 MiB, but every cold start fetches them. Machine code alone is 45 on x86_64.
SIZE_LIMIT = 55 * 2**20

UNCHECKED_HASH = 0b01
NORMAL = {"is_anomaly": False, "predicted_value": 1}
ANOMALY = {"is_anomaly": True, "predicted_value": -1}
PREDICTIONS = {
    "predict-normal": (200, NORMAL),
    "predict-anomaly": (200, ANOMALY),
    "predict-anomaly-small": (200, ANOMALY),
    "predict-wrong-key": (422, None),
}


def test_it_contains_the_pinned_libraries_only(package: Path) -> None:
    pins = re.findall(r"^[\w-]+==\S+", (ROOT / "functions/requirements.txt").read_text(), re.M)
    installed = [
        re.sub(r"^(.+)-(.+)$", r"\1==\2", folder.stem).replace("_", "-")
        for folder in package.glob("*.dist-info")
    ]
    assert sorted(installed) == sorted(pins)


@pytest.mark.parametrize("name", NOT_DEPLOYED)
def test_it_leaves_out(package: Path, name: str) -> None:
    assert not (package / name).exists()


@pytest.mark.parametrize("architecture", ["arm64", "x86_64"])
@pytest.mark.parametrize("variables", [(), ("PYTHON313=",)], ids=["bytecode", "sources"])
def test_it_is_small(
    build: Callable[..., Path], architecture: str, variables: tuple[str, ...]
) -> None:
    package = build(architecture, *variables)
    size = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
    assert size < SIZE_LIMIT


def test_bytecode_replaces_the_sources_of_libraries_only(package: Path, python313: str) -> None:
    assert {file.relative_to(package).parts[0] for file in package.rglob("*.py")} == {PACKAGE}
    assert (package / "msgspec/structs.pyc").exists()


def test_its_bytecode_is_used_whatever_the_mtimes(package: Path, python313: str) -> None:
    sources = list((package / PACKAGE).rglob("*.py"))
    assert sources
    for source in sources:
        bytecode = source.parent / "__pycache__" / f"{source.stem}.cpython-313.pyc"
        assert int.from_bytes(bytecode.read_bytes()[4:8], "little") == UNCHECKED_HASH


PROVIDED_BY_THE_RUNTIME = ("boto3", "botocore")


def names_used(source: Path) -> Iterator[str]:
    """Yield a module's imports, inside functions too, and its `np.` names, as code."""
    for node in ast.walk(ast.parse(source.read_text())):
        match node:
            case ast.Import(names=[ast.alias(name=name)]) if name in PROVIDED_BY_THE_RUNTIME:
                pass
            case ast.Import() | ast.Attribute(value=ast.Name("np")):
                yield ast.unparse(node)
            case ast.ImportFrom(module=str(module)):
                if module.split(".")[0] not in ("__future__", PACKAGE, *PROVIDED_BY_THE_RUNTIME):
                    yield ast.unparse(node)


def test_every_name_that_its_code_uses_was_kept(package: Path, python313: str) -> None:
    used = {name for source in (package / PACKAGE).rglob("*.py") for name in names_used(source)}
    code = "\n".join(["import numpy as np", *sorted(used)])
    subprocess.run([python313, "-c", code], env={"PYTHONPATH": str(package)}, check=True)


@pytest.fixture(scope="module")
def function(
    package: Path, runtime: Path, python313: str, published_model: Any
) -> Iterator[LambdaRuntime]:
    """Run the package as Lambda does, without any of this process's environment."""
    environment = {
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_ENDPOINT_URL": published_model.endpoint_url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_LAMBDA_FUNCTION_NAME": "api",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "MODEL_BUCKET": published_model.bucket,
        "DEFAULT_MODEL": published_model.name,
        "POWERTOOLS_SERVICE_NAME": "test",
        "POWERTOOLS_METRICS_NAMESPACE": "Test",
        "PYTHONPATH": os.pathsep.join(map(str, (package, runtime))),
    }
    command = [python313, "-m", "awslambdaric", "ops_anomaly.api.handler.lambda_handler"]
    with LambdaRuntime(command, package, environment) as function:
        yield function


def invoke(function: LambdaRuntime, name: str) -> dict[str, Any]:
    return function.invoke(json.loads((EVENTS / f"{name}.json").read_text()))


@pytest.mark.parametrize("name", sorted(file.stem for file in EVENTS.glob("predict-*.json")))
def test_predict_evaluates_one_value(
    function: LambdaRuntime, published_model: Any, name: str
) -> None:
    status, body = PREDICTIONS[name]
    response = invoke(function, name)
    assert response["statusCode"] == status
    is_on_edge = (published_model.kind, name) == ("lstm-autoencoder", "predict-anomaly-small")
    if body is not None and not is_on_edge:  # as in test_live_model
        assert json.loads(response["body"]) == body


def test_detect_evaluates_a_series(function: LambdaRuntime) -> None:
    response = invoke(function, "detect")
    assert response["statusCode"] == 200
    (alert,) = json.loads(response["body"])["alerts"]
    assert alert["peak"] == "2026-01-01T15:00:00.000Z"
    assert alert["reason"].startswith("jumped by 2.368 within 5 min, to 2.5: 0.1319 was expected")


@pytest.mark.parametrize("name", ["root", "health", "models", "model", "docs", "openapi"])
def test_every_other_route_responds(function: LambdaRuntime, name: str) -> None:
    assert invoke(function, name)["statusCode"] == 200

"""What a cold start imports: nothing that is not deployed, and no more modules than today."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import PublishedModel

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    *("sklearn", "scipy", "pandas", "joblib", "keras", "jax", "boto3", "botocore", "moto"),
    *("pydantic", "aws_xray_sdk"),
}
MAX_MODULES = 400
MAX_MODULES_WITH_NUMPY = 500
"""365 and 465 when this was written; each module costs a third of a millisecond or more."""

PREDICT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {forbidden!r}:
            raise ImportError(f"{{name}} is not deployed")

sys.meta_path.insert(0, Refuse())
from ops_anomaly.api.handler import lambda_handler
from local.gateway import LocalContext
import json
event = json.load(open("events/predict-anomaly.json"))
response = lambda_handler(event, LocalContext())
assert response["statusCode"] == 200, response
print("\\n", json.dumps(sorted(sys.modules)))
"""


def imported(model: PublishedModel) -> list[str]:
    """Return the modules behind an response of a fresh process that can't import FORBIDDEN."""
    done = subprocess.run(
        [sys.executable, "-c", PREDICT.format(forbidden=FORBIDDEN)],
        cwd=ROOT,
        env=os.environ
        | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}",
            "MODEL_BUCKET": model.bucket,
            "AWS_ENDPOINT_URL": model.endpoint_url,
            "POWERTOOLS_METRICS_NAMESPACE": "test",
            "POWERTOOLS_SERVICE_NAME": "test",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    modules: list[str] = json.loads(done.stdout.splitlines()[-1])
    return modules


AZURE = """
import sys
for name in {forbidden!r}:
    sys.modules[name] = None  # what the built package leaves out of numpy
import json
from local.gateway import LocalContext, proxy_event
from ops_anomaly.api.handler import lambda_handler
assert not {{name for name in sys.modules if name.startswith("ops_anomaly.azure")}}
series = [{{"value": value}} for value in [1, 3, 2, 5] * 10]
for operation in ("entire", "last", "changepoint"):
    path = f"/anomalydetector/v1.1/timeseries/{{operation}}/detect"
    body = json.dumps({{"series": series, "granularity": "none"}}).encode()
    response = lambda_handler(proxy_event("POST", path, "", [], body), LocalContext())
    assert response["statusCode"] == 200, response
"""
NOT_BUILT = ("numpy.f2py", "numpy.fft", "numpy.ma", "numpy.polynomial", "numpy.random")

RETRAINING = """
import sys
for name in {forbidden!r}:
    sys.modules[name] = None
import training.retraining.handler
"""
OF_THE_COMMAND_LINE = ("rich", "typer", "yaml", "jinja2", "matplotlib", "keras", "jax", "pandas")
"""Libraries, of which the functions of nightly retraining have none."""


def test_plan_and_report_need_no_library_that_trains_and_none_of_the_command_line() -> None:
    forbidden = (*OF_THE_COMMAND_LINE, "sklearn", "scipy", "joblib", *NOT_BUILT)
    done = subprocess.run(
        [sys.executable, "-c", RETRAINING.format(forbidden=forbidden)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_azures_contract_is_imported_by_its_first_request_and_needs_no_more_than_is_built() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AZURE.format(forbidden=NOT_BUILT)],
        cwd=ROOT,
        env=os.environ
        | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}",
            "MODEL_BUCKET": "unused",
            "AZURE_COMPATIBLE": "Yes",
            "POWERTOOLS_METRICS_NAMESPACE": "test",
            "POWERTOOLS_SERVICE_NAME": "test",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_api_responds_without_the_libraries_of_training(
    published_model: PublishedModel,
) -> None:
    modules = imported(published_model)
    assert not {"ops_anomaly.charts", "ops_anomaly.pages"} & set(modules)
    if published_model.kind == "value-forest":
        assert "numpy" not in modules
        assert len(modules) <= MAX_MODULES
    assert len(modules) <= MAX_MODULES_WITH_NUMPY

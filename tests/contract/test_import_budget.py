"""What a cold start must not load, and a generous bound on what it may take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    *("sklearn", "scipy", "pandas", "joblib", "keras", "jax", "boto3", "botocore", "moto"),
    *("pydantic", "aws_xray_sdk"),
}
BUDGET_SECONDS = 6.0
BUDGET_MODULES = {"value-forest": 450, "contextual-forest": 600, "lstm-autoencoder": 600}
"""Modules behind a first answer; each that is added costs a third of a millisecond or more."""

PREDICT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {forbidden!r}:
            raise ImportError(f"{{name}} is not deployed")

sys.meta_path.insert(0, Refuse())
import time
started = time.perf_counter()
from ops_anomaly.api.handler import lambda_handler
from local.gateway import LocalContext
import json
event = json.load(open("events/predict-anomaly.json"))
answer = lambda_handler(event, LocalContext())
assert answer["statusCode"] == 200, answer
seconds = time.perf_counter() - started
print("\\n", json.dumps({{"seconds": seconds, "modules": sorted(sys.modules)}}))
"""


def first_answer(published_model) -> dict:
    """Answer a request in a fresh process where what is not deployed can't be imported."""
    done = subprocess.run(
        [sys.executable, "-c", PREDICT.format(forbidden=FORBIDDEN)],
        cwd=ROOT,
        env=os.environ
        | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'functions'}",
            "MODEL_BUCKET": published_model.bucket,
            "AWS_ENDPOINT_URL": published_model.endpoint_url,
            "POWERTOOLS_METRICS_NAMESPACE": "test",
            "POWERTOOLS_SERVICE_NAME": "test",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_api_answers_without_what_only_training_needs(published_model) -> None:
    answer = first_answer(published_model)
    assert answer["seconds"] < BUDGET_SECONDS
    assert len(answer["modules"]) < BUDGET_MODULES[published_model.kind]
    if published_model.kind == "value-forest":
        assert "numpy" not in answer["modules"], "a value forest is served without numpy"

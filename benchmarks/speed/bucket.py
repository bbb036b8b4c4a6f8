"""A bucket with the models, served by a process of its own.

That process, python -m benchmarks.speed.bucket, prints the bucket's URL and ends
when its input does.
"""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np

from benchmarks.speed.process import ROOT
from local.stack import BUCKET, CREDENTIALS, local_bucket, local_client
from ops_anomaly.aws.objects import CREATED_METADATA, DIGEST_METADATA, model_key
from ops_anomaly.detection.artifact import digest, pack
from ops_anomaly.detection.types import Detector
from training.candidates.contextual_forest import fit_contextual_forest
from training.candidates.value_forest import fit_value_forest
from training.sources.simulated import simulate_ec2_cpu

VALUE_FOREST, CONTEXTUAL_FOREST = "value-forest", "contextual-forest"
ESTIMATOR, NAMED_ESTIMATOR = "forest.joblib", "named-forest.joblib"
"""The same forest by scikit-learn, as fitted on an array, and on pandas' frame of one column."""

CREATED = "2026-01-01T00:00:00+00:00"
FITTED_ON = 2_016
SEED = 42


@dataclass(frozen=True)
class Models:
    """The models, as they lie in the bucket."""

    artifacts: dict[str, bytes]
    estimators: dict[str, bytes]


def fit_models(folder: Path) -> Models:
    """Fit a value forest and a contextual forest on half of the simulated series."""
    half = simulate_ec2_cpu().part(0, FITTED_ON)
    value_forest = fit_value_forest(half, SEED)
    value_forest.save_estimator(folder)
    estimator = joblib.load(folder / "value-forest.joblib")
    fitted = {
        VALUE_FOREST: value_forest.detector,
        CONTEXTUAL_FOREST: fit_contextual_forest(half, SEED).detector,
    }
    plain = dumped(estimator)
    estimator.feature_names_in_ = np.array(["value"], dtype=object)
    return Models(
        {name: artifact(detector, name) for name, detector in fitted.items()},
        {ESTIMATOR: plain, NAMED_ESTIMATOR: dumped(estimator)},
    )


def artifact(detector: Detector, name: str) -> bytes:
    """Return a model as it is published."""
    data = {"origin": "simulated", "readings": FITTED_ON}
    return pack(detector, name, libraries={}, training_data=data, figures={})


def dumped(estimator: object) -> bytes:
    """Return an estimator as joblib writes it."""
    written = io.BytesIO()
    joblib.dump(estimator, written)
    return written.getvalue()


@dataclass(frozen=True)
class Bucket:
    """A bucket that is served by another process."""

    url: str
    models: Models

    @property
    def environment(self) -> dict[str, str]:
        """What a function needs to read it."""
        return {
            **CREDENTIALS,
            "AWS_REGION": CREDENTIALS["AWS_DEFAULT_REGION"],
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "NO_PROXY": "127.0.0.1",
            "MODEL_BUCKET": BUCKET,
            "POWERTOOLS_SERVICE_NAME": "bench",
            "POWERTOOLS_METRICS_NAMESPACE": "Bench",
        }

    def publish(self, names: Iterable[str], data: bytes) -> None:
        """Put a model into the bucket under these names."""
        s3 = local_client("s3", self.url)
        metadata = {DIGEST_METADATA: digest(data), CREATED_METADATA: CREATED}
        for name in names:
            s3.put_object(Bucket=BUCKET, Key=model_key(name), Body=data, Metadata=metadata)


@contextmanager
def served_bucket(models: Models) -> Iterator[Bucket]:
    """Start a process that serves a bucket with these models; end it afterwards."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.speed.bucket"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        bucket = Bucket(process.stdout.readline().strip(), models)
        for name, data in models.artifacts.items():
            bucket.publish([name], data)
        s3 = local_client("s3", bucket.url)
        for key, data in models.estimators.items():
            s3.put_object(Bucket=BUCKET, Key=key, Body=data)
        yield bucket  # leaving closes its input


if __name__ == "__main__":
    with local_bucket() as url:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        sys.stdin.read()

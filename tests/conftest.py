"""Fixtures that more than one kind of test needs."""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

from local.stack import CREDENTIALS, local_bucket
from training.candidates import KINDS
from training.publishing import publish
from training.run import Run, Settings, StoredRun, read_run, write_run
from training.sources import simulate_ec2_cpu
from training.sources.nab import BASELINE_FILE, Nab, cached_nab
from training.sources.series import LabelledSeries
from training.versions import s3_client

SETTINGS = Settings("ec2-cpu", max_epochs=6, max_places=2)
"""Of the run that tests share: its figures are no matter, but it has all the parts."""

# a slow or busy machine is no failure of the property
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    """Let the processes that run tests, and later runs, share what JAX compiles."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(config.cache.mkdir("jax")))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


@dataclass(frozen=True)
class Bucket:
    """A versioned bucket of moto's server, empty at first."""

    name: str
    endpoint_url: str

    @property
    def s3(self):
        return s3_client(self.endpoint_url)


@dataclass(frozen=True)
class PublishedModel:
    """A model in a bucket of moto's server."""

    bucket: str
    endpoint_url: str
    name: str
    kind: str


@pytest.fixture(scope="session", autouse=True)
def local_credentials() -> Iterator[None]:
    """No test can reach an account: credentials are made up, and no profile is read."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_REGION", CREDENTIALS["AWS_DEFAULT_REGION"])
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "MODEL_BUCKET"):
            patch.delenv(name, raising=False)
        patch.setenv("NO_PROXY", "127.0.0.1")
        yield


@pytest.fixture(scope="session")
def s3_url(local_credentials: None) -> Iterator[str]:
    with local_bucket() as url:
        yield url


@pytest.fixture
def bucket(s3_url: str) -> Bucket:
    return new_bucket(s3_url)


def new_bucket(s3_url: str) -> Bucket:
    bucket = Bucket(f"models-{uuid.uuid4()}", s3_url)
    bucket.s3.create_bucket(Bucket=bucket.name)
    bucket.s3.put_bucket_versioning(
        Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
    )
    return bucket


@pytest.fixture(scope="session")
def simulated() -> LabelledSeries:
    return simulate_ec2_cpu()


@pytest.fixture(scope="session")
def nab_series() -> LabelledSeries:
    """The baseline experiment's series, from NAB_ROOT or the cache; no test downloads it."""
    root = os.environ.get("NAB_ROOT")
    nab = Nab(Path(root)) if root else cached_nab(BASELINE_FILE)
    if nab is None:
        pytest.skip("NAB is not here: set NAB_ROOT to a copy, or run make demo online once")
    return nab.series(BASELINE_FILE)


@pytest.fixture(scope="session")
def run(simulated: LabelledSeries) -> Run:
    """The candidates, fitted on the simulated series and compared."""
    from training.job import train  # imports scikit-learn

    return train(simulated, SETTINGS, lambda *_: None)


@pytest.fixture(scope="session")
def stored_run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> StoredRun:
    """The run's folder: trained by one of the processes that run tests, and read by all."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "runs" / "ec2-cpu"
    with (shared / "runs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # closing it lets the next one in
        if not folder.exists():
            from training.report import write_report

            run, report = request.getfixturevalue("run"), partial(write_report, published=folder)
            write_run(run, folder, report)
    return read_run(folder)


@pytest.fixture(scope="session", params=KINDS)
def published_model(
    request: pytest.FixtureRequest, s3_url: str, stored_run: StoredRun
) -> PublishedModel:
    """Each kind of model, published under the name that the sample events ask for."""
    bucket = new_bucket(s3_url)
    publish(bucket.s3, bucket.name, "ec2-cpu", stored_run, request.param, None)
    return PublishedModel(bucket.name, s3_url, "ec2-cpu", request.param)

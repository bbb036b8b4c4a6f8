"""A running API uses what is published, without a restart."""

from __future__ import annotations

import json
import time

import pytest
import requests

from ops_anomaly.aws.objects import DIGEST_METADATA, model_key
from tests.conftest import Bucket
from tests.integration.conftest import TTL_SECONDS, RunningApi
from training.publishing import publish, roll_back
from training.run import StoredRun
from training.versions import read_artifact, read_history, read_version

MODEL = "ec2-cpu"
KINDS = ["value-forest", "lstm-autoencoder", "contextual"]
VALUES = {
    "value-forest": (0.13, 2.0, 95.0),
    "contextual": (0.13, 2.0, 95.0),
    # 2.0 is right at the LSTM's threshold: on which side depends on the processor's float32
    # arithmetic in training
    "lstm-autoencoder": (0.13, 95.0),
}


def publish_kind(bucket: Bucket, run: StoredRun, kind: str):
    champion = read_version(bucket.s3, bucket.name, MODEL)
    return publish(bucket.s3, bucket.name, MODEL, run, kind, champion)


def within_ttl(happened) -> bool:
    """Return whether it happened within a few TTLs."""
    deadline = time.monotonic() + 10 * TTL_SECONDS + 2
    while time.monotonic() < deadline:
        if happened():
            return True
        time.sleep(TTL_SECONDS / 4)
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_evaluates_the_values_of_the_baseline_experiment(
    api: RunningApi, bucket: Bucket, stored_run: StoredRun, kind: str
) -> None:
    live = publish_kind(bucket, stored_run, kind)
    responses = [api.predict(value) for value in VALUES[kind]]
    normal, anomaly = (
        {"is_anomaly": False, "predicted_value": 1},
        {"is_anomaly": True, "predicted_value": -1},
    )
    assert [response.json() for response in responses] == [
        normal,
        *[anomaly] * (len(responses) - 1),
    ]
    assert {response.headers["X-Model-Version"] for response in responses} == {live.version_id}


def test_publishing_and_rolling_back_take_effect_within_the_ttl(
    api: RunningApi, bucket: Bucket, stored_run: StoredRun
) -> None:
    first = publish_kind(bucket, stored_run, KINDS[0])
    assert api.version() == first.version_id
    second = publish_kind(bucket, stored_run, KINDS[1])
    assert within_ttl(lambda: api.version() == second.version_id)
    _, back = roll_back(bucket.s3, bucket.name, MODEL, first.version_id)
    assert back.digest == first.digest
    assert within_ttl(lambda: api.version() == back.version_id)
    # every version is still listed
    versions = read_history(bucket.s3, bucket.name, MODEL).versions
    assert [version.version_id for version in versions] == [
        back.version_id,
        second.version_id,
        first.version_id,
    ]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "no digest", "another schema"])
def test_a_corrupt_artifact_is_refused_and_the_old_model_stays(
    api: RunningApi,
    bucket: Bucket,
    stored_run: StoredRun,
    damage: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = publish_kind(bucket, stored_run, KINDS[0])
    assert api.version() == good.version_id
    data, metadata = bytearray(read_artifact(bucket.s3, bucket.name, MODEL)), dict(good.metadata)
    if damage == "flipped":
        data[-1] ^= 1
    elif damage == "truncated":
        data = data[:-1]
    elif damage == "no digest":
        data = bytearray(stored_run.artifact(KINDS[1]))  # valid, but without its digest
        del metadata[DIGEST_METADATA]
    else:
        data = data.replace(b'schema\\":1', b'schema\\":9')
    put = {"Bucket": bucket.name, "Key": model_key(MODEL), "Body": bytes(data)}
    bucket.s3.put_object(**put, Metadata=metadata)
    time.sleep(2 * TTL_SECONDS)
    for _ in range(3):
        response = api.predict(95.0)
        assert response.status_code == 200
        assert response.headers["X-Model-Version"] == good.version_id
        time.sleep(TTL_SECONDS)
    assert '"ModelRefreshFailed":[1.0]' in capsys.readouterr().out, "the alarm's metric is missing"


def test_without_a_model_the_api_is_unavailable_until_one_is_published(
    api: RunningApi, bucket: Bucket, stored_run: StoredRun
) -> None:
    response = api.predict(0.13)
    assert response.status_code == 503
    assert response.headers["Retry-After"]
    assert response.headers["content-type"] == "application/problem+json"
    assert api.predict(0.13, model="no-such-model").status_code == 404
    publish_kind(bucket, stored_run, KINDS[0])
    assert api.predict(0.13).status_code == 200


def test_models_are_listed_and_described(
    api: RunningApi, bucket: Bucket, stored_run: StoredRun
) -> None:
    assert requests.get(f"{api.url}/models", timeout=20).json()["models"] == []
    live = publish_kind(bucket, stored_run, KINDS[1])
    listed = requests.get(f"{api.url}/models?prefix={MODEL}", timeout=20).json()
    assert listed == {"models": [MODEL], "next": None}
    detail = requests.get(f"{api.url}/models/{MODEL}", timeout=20).json()
    assert (detail["version"], detail["kind"]) == (live.version_id, KINDS[1])
    assert detail["created"] == stored_run.record["created"]
    assert detail["figures"]["windows"] == stored_run.record["out_of_sample"][1]["windows"]
    health = requests.get(f"{api.url}/health", timeout=20).json()
    assert (health["status"], health["version"]) == ("ok", live.version_id)
    assert json.dumps(detail, allow_nan=False)


def test_a_deleted_model_is_still_served_by_a_warm_function(
    api: RunningApi, bucket: Bucket, stored_run: StoredRun
) -> None:
    live = publish_kind(bucket, stored_run, KINDS[0])
    assert api.version() == live.version_id
    bucket.s3.delete_object(Bucket=bucket.name, Key=model_key(MODEL))
    time.sleep(2 * TTL_SECONDS)
    assert api.version() == live.version_id

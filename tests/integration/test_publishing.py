"""Publishing and rolling back on moto's server: atomic, refused when somebody was faster."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ops_anomaly.aws.objects import INDEX_KEY, model_key
from tests.conftest import Bucket
from training import PublishConflictError, PublishError
from training.publishing import (
    ATTEMPTS,
    check_bucket,
    list_models,
    list_versions,
    publish,
    read_version,
    roll_back,
    write_if_unchanged,
)
from training.run import StoredRun

FOREST, LSTM = "value-forest", "lstm-autoencoder"


def publish_to(bucket: Bucket, run: StoredRun, kind: str = FOREST, name: str = "ec2-cpu"):
    champion = read_version(bucket.s3, bucket.name, name)
    return publish(bucket.s3, bucket.name, name, run, kind, champion)


def test_of_two_concurrent_publishers_one_is_refused(bucket: Bucket, stored_run: StoredRun) -> None:
    # both read the same champion (none), then both write
    winner = publish(bucket.s3, bucket.name, "ec2-cpu", stored_run, FOREST, None)
    with pytest.raises(PublishConflictError, match="somebody else"):
        publish(bucket.s3, bucket.name, "ec2-cpu", stored_run, LSTM, None)
    assert read_version(bucket.s3, bucket.name, "ec2-cpu") == winner
    # and again over an existing champion
    publish(bucket.s3, bucket.name, "ec2-cpu", stored_run, LSTM, winner)
    with pytest.raises(PublishConflictError, match="somebody else"):
        publish(bucket.s3, bucket.name, "ec2-cpu", stored_run, LSTM, winner)


def test_the_report_is_uploaded_beside_the_model(bucket: Bucket, stored_run: StoredRun) -> None:
    publish_to(bucket, stored_run)
    prefix = f"runs/ec2-cpu/{stored_run.record['run']}/"
    listed = bucket.s3.list_objects_v2(Bucket=bucket.name, Prefix=prefix)["Contents"]
    names = {each["Key"].removeprefix(prefix) for each in listed}
    assert {"report.html", "metrics.json", "value-forest.joblib", "lstm-autoencoder.keras"} <= names


def test_the_index_names_every_model_once(bucket: Bucket, stored_run: StoredRun) -> None:
    for name in ("web", "db", "web"):
        publish_to(bucket, stored_run, name=name)
    index = bucket.s3.get_object(Bucket=bucket.name, Key=INDEX_KEY)["Body"].read()
    assert json.loads(index)["names"] == list_models(bucket.s3, bucket.name) == ["db", "web"]


def test_other_objects_and_a_broken_index_do_not_matter(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    bucket.s3.put_object(Bucket=bucket.name, Key="models/Bad_Name/x", Body=b"")
    publish_to(bucket, stored_run, name="web")
    bucket.s3.put_object(Bucket=bucket.name, Key=INDEX_KEY, Body=b'{"names": [1]}')
    publish_to(bucket, stored_run, name="db")  # rebuilds a broken index
    index = bucket.s3.get_object(Bucket=bucket.name, Key=INDEX_KEY)["Body"].read()
    assert json.loads(index)["names"] == list_models(bucket.s3, bucket.name) == ["db", "web"]


def test_a_bucket_without_versions_is_refused(bucket: Bucket) -> None:
    bucket.s3.put_bucket_versioning(
        Bucket=bucket.name, VersioningConfiguration={"Status": "Suspended"}
    )
    with pytest.raises(PublishError, match="versioned"):
        check_bucket(bucket.s3, bucket.name)
    with pytest.raises(PublishError, match="no-such-bucket"):
        check_bucket(bucket.s3, "no-such-bucket")


def test_rolling_back_to_a_missing_or_live_version_is_refused(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    live = publish_to(bucket, stored_run)
    with pytest.raises(PublishError, match="no version"):
        roll_back(bucket.s3, bucket.name, "ec2-cpu", "11111111-2222-3333-4444-555555555555")
    with pytest.raises(PublishError, match="already live"):
        roll_back(bucket.s3, bucket.name, "ec2-cpu", live.version_id)


def test_rolling_back_to_a_damaged_version_is_refused(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    key = model_key("ec2-cpu")
    damaged = bucket.s3.put_object(Bucket=bucket.name, Key=key, Body=b"no artifact")["VersionId"]
    live = publish_to(bucket, stored_run)
    with pytest.raises(PublishError, match="can't be served"):
        roll_back(bucket.s3, bucket.name, "ec2-cpu", damaged)
    assert read_version(bucket.s3, bucket.name, "ec2-cpu") == live


def test_a_deleted_model_can_be_brought_back(bucket: Bucket, stored_run: StoredRun) -> None:
    live = publish_to(bucket, stored_run)
    bucket.s3.delete_object(Bucket=bucket.name, Key=model_key("ec2-cpu"))
    assert read_version(bucket.s3, bucket.name, "ec2-cpu") is None
    assert roll_back(bucket.s3, bucket.name, "ec2-cpu", live.version_id).digest == live.digest


def test_a_version_that_cannot_be_read_is_listed_too(bucket: Bucket, stored_run: StoredRun) -> None:
    bucket.s3.put_object(Bucket=bucket.name, Key=model_key("ec2-cpu"), Body=b"no artifact")
    publish_to(bucket, stored_run)
    manifests = [v.manifest for v in list_versions(bucket.s3, bucket.name, "ec2-cpu")]
    assert manifests[0].kind == FOREST
    assert manifests[1] is None


class FakeWrite:
    """Responds to writes with these HTTP statuses; moto has no 409 on conditional puts."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.requests: list[dict[str, Any]] = []

    def __call__(self, **request: Any) -> None:
        self.requests.append(request)
        status = self.statuses.pop(0)
        if status != 200:
            response = {
                "Error": {"Code": str(status)},
                "ResponseMetadata": {"HTTPStatusCode": status},
            }
            raise ClientError(response, "PutObject")


def test_a_409_is_repeated_under_the_same_condition() -> None:
    write = FakeWrite(409, 409, 200)
    write_if_unchanged("writing", write, '"etag"', Key="k")
    assert write.requests == [{"Key": "k", "IfMatch": '"etag"'}] * 3


@pytest.mark.parametrize(
    ("statuses", "error"),
    [
        ([409, 412], PublishConflictError),
        ([409] * ATTEMPTS, PublishConflictError),
        ([403], PublishError),
    ],
)
def test_a_conditional_write_gives_up(statuses: list[int], error: type[Exception]) -> None:
    write = FakeWrite(*statuses)
    with pytest.raises(error):
        write_if_unchanged("writing", write, None, Key="k")
    assert not write.statuses
    assert write.requests[0] == {"Key": "k", "IfNoneMatch": "*"}

"""Publishing and rolling back on moto's server: atomic, refused when somebody was faster."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from io import StringIO
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from rich.console import Console

from commands.models import LAST
from ops_anomaly.aws.objects import INDEX_KEY, WRITE_ATTEMPTS, WRITE_ID_METADATA, model_key
from ops_anomaly.watcher.watch_file import parse_watch_file
from tests.conftest import Bucket
from tests.support.command import command
from tests.support.forwarding import running
from tests.support.lost_responses import How, LostResponses
from tests.support.roles import EnforcedRole, actions, published_policy
from training import PublishConflictError, PublishError
from training.publishing import (
    BucketModels,
    check_bucket,
    publish,
    publish_run,
    publish_watch_file,
    read_index,
    roll_back,
    write_if_unchanged,
)
from training.run import StoredRun
from training.versions import (
    Version,
    list_models,
    live_versions,
    read_history,
    read_version,
    s3_client,
)

FOREST, LSTM = "value-forest", "lstm-autoencoder"


def publish_to(bucket: Bucket, run: StoredRun, kind: str = FOREST, name: str = "ec2-cpu"):
    champion = read_version(bucket.s3, bucket.name, name)
    return publish(bucket.s3, bucket.name, name, run, kind, champion)


def versions_of(bucket: Bucket) -> list[Version]:
    return list(read_history(bucket.s3, bucket.name, "ec2-cpu").versions)


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
    assert json.loads(index)["models"] == live_versions(bucket.s3, bucket.name, ["db", "web"])
    assert list_models(bucket.s3, bucket.name) == ["db", "web"]


def test_other_objects_and_a_broken_index_do_not_matter(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    bucket.s3.put_object(Bucket=bucket.name, Key="models/Bad_Name/x", Body=b"")
    publish_to(bucket, stored_run, name="web")
    bucket.s3.put_object(Bucket=bucket.name, Key=INDEX_KEY, Body=b'{"names": [1]}')
    publish_to(bucket, stored_run, name="db")  # rebuilds a broken index
    index = bucket.s3.get_object(Bucket=bucket.name, Key=INDEX_KEY)["Body"].read()
    assert json.loads(index)["models"] == live_versions(bucket.s3, bucket.name, ["db", "web"])
    assert list_models(bucket.s3, bucket.name) == ["db", "web"]


def test_the_index_has_what_is_live_whoever_writes_it_last(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    first = publish_to(bucket, stored_run, name="web")
    second = publish_to(bucket, stored_run, name="web")
    roll_back(bucket.s3, bucket.name, "web", first.version_id)
    models = BucketModels(bucket.s3, bucket.name)
    live = models.read("web")
    assert live
    assert live.version not in (first.version_id, second.version_id)
    models.update_index(["web", "never-published"])  # of a run that published the second, hours ago
    assert read_index(bucket.s3, bucket.name)[0] == {"web": live.version}


def test_a_lost_index_is_made_anew_of_all_models(bucket: Bucket, stored_run: StoredRun) -> None:
    for name in ("web", "db"):
        publish_to(bucket, stored_run, name=name)
    bucket.s3.delete_object(Bucket=bucket.name, Key=INDEX_KEY)
    BucketModels(bucket.s3, bucket.name).update_index(["web"])
    assert sorted(read_index(bucket.s3, bucket.name)[0] or ()) == ["db", "web"]


def test_a_bucket_without_versions_is_refused(bucket: Bucket) -> None:
    bucket.s3.put_bucket_versioning(
        Bucket=bucket.name, VersioningConfiguration={"Status": "Suspended"}
    )
    with pytest.raises(PublishError, match="versioned"):
        check_bucket(bucket.s3, bucket.name)
    with pytest.raises(PublishError, match="no-such-bucket"):
        check_bucket(bucket.s3, "no-such-bucket")


def test_a_version_is_named_by_a_prefix_that_is_unique(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    good = publish_to(bucket, stored_run).version_id
    put = {"Bucket": bucket.name, "Key": model_key("ec2-cpu"), "Body": b""}
    # of 17 hexadecimal numbers, two begin alike
    ids = [good, *(bucket.s3.put_object(**put)["VersionId"] for _ in range(16))]
    first = next(each for each in ids if sum(each[0] == other[0] for other in ids) > 1)
    with pytest.raises(PublishError, match=f"versions of ec2-cpu begin with '{first[0]}'") as error:
        roll_back(bucket.s3, bucket.name, "ec2-cpu", first[0])
    matching = {each for each in ids if each.startswith(first[0])}
    assert {each for each in ids if each in str(error.value)} == matching
    with pytest.raises(PublishError, match="no version that begins with 'x'") as error:
        roll_back(bucket.s3, bucket.name, "ec2-cpu", "x")
    assert ids[-1] in str(error.value)
    assert "... and 7 older" in str(error.value)
    with pytest.raises(PublishError, match="has no model web; it has: ec2-cpu"):
        roll_back(bucket.s3, bucket.name, "web", first)
    _, live = roll_back(bucket.s3, bucket.name, "ec2-cpu", good[:20])
    assert versions_of(bucket)[0] == live


def test_what_is_not_expected_to_be_live_is_not_replaced(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    console = Console(file=StringIO())
    _, first = publish_run(bucket.s3, bucket.name, stored_run, console, expect="none")
    with pytest.raises(PublishConflictError, match="expected version is none; live is"):
        publish_run(bucket.s3, bucket.name, stored_run, console, expect="none")
    second = publish_to(bucket, stored_run, LSTM)
    with pytest.raises(PublishConflictError, match=f"live is {second.version_id} .LSTM auto"):
        publish_run(bucket.s3, bucket.name, stored_run, console, expect=first.version_id[:8])
    with pytest.raises(PublishConflictError, match="nothing was written"):
        roll_back(bucket.s3, bucket.name, "ec2-cpu", first.version_id, expect=first.version_id)
    with pytest.raises(PublishError, match="no version that begins with 'v1'"):
        publish_run(bucket.s3, bucket.name, stored_run, console, expect="v1")
    assert versions_of(bucket) == [second, first]
    _, third = publish_run(bucket.s3, bucket.name, stored_run, console, expect=second.version_id)
    assert versions_of(bucket)[0] == third


@pytest.mark.parametrize("expects", [True, False])
def test_who_publishes_between_the_reading_and_the_writing_wins(
    bucket: Bucket, stored_run: StoredRun, expects: bool
) -> None:
    first, theirs = publish_to(bucket, stored_run), []

    def publish_too(**_: Any) -> None:
        if not theirs:
            theirs.append(publish_to(bucket, stored_run, LSTM))

    s3 = bucket.s3
    s3.meta.events.register("before-call.s3.PutObject", publish_too)
    with pytest.raises(PublishConflictError, match="somebody else"):
        publish_run(
            s3,
            bucket.name,
            stored_run,
            Console(file=StringIO()),
            expect=first.version_id if expects else None,
        )
    assert versions_of(bucket) == [*theirs, first]


def test_the_command_that_undoes_a_publish_is_printed(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    folder, here = str(stored_run.folder), ("--bucket", bucket.name)
    elsewhere = (*here, "--endpoint-url", bucket.endpoint_url)
    assert "nothing to go back to" in command("publish", folder, *elsewhere).stdout
    second = command("publish", folder, *elsewhere, "--candidate", LSTM)
    *_, undo = second.stdout.splitlines()
    name, *words = shlex.split(undo)
    assert name == "ops-anomaly"
    assert command(*words).returncode == 0
    back, _, first = versions_of(bucket)
    assert back.digest == first.digest
    # somebody else has published since: theirs is not undone
    refused = command(*words)
    assert refused.returncode == 1
    assert "nothing was written" in refused.stderr


def test_models_are_listed_whole_in_a_pipe_and_as_json(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    s3, put = bucket.s3, {"Bucket": bucket.name, "Key": model_key("ec2-cpu")}
    s3.put_object(**put, Body=b"")  # unreadable
    data = stored_run.artifact(FOREST)
    ids = [s3.put_object(**put, Body=data)["VersionId"] for _ in range(LAST)]

    def listed(*arguments: str) -> str:
        return command("models", *arguments, "--endpoint-url", bucket.endpoint_url).stdout

    text = listed("--bucket", bucket.name)
    assert all(each in text for each in ids)
    assert f"* {ids[-1]} " in text
    assert "of 5 min, 2014-02-14 to 2014-02-28" in text
    assert "its data ended" in text
    [hint] = re.findall("and 1 older: ops-anomaly (.*)", text)
    assert "unreadable" in listed(*shlex.split(hint)[1:])
    record = json.loads(listed("--bucket", bucket.name, "--json"))
    [model] = record["models"]
    assert (model["name"], model["live"], model["older_versions"]) == ("ec2-cpu", ids[-1], 1)
    assert [each["version_id"] for each in model["versions"]] == ids[::-1]
    assert model["versions"][0]["training_data"]["step_ms"] == 300_000


def test_rolling_back_to_a_missing_or_live_version_is_refused(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    live = publish_to(bucket, stored_run)
    with pytest.raises(PublishError, match="no version that begins"):
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
    assert read_history(bucket.s3, bucket.name, "ec2-cpu").live is None
    assert read_version(bucket.s3, bucket.name, "ec2-cpu") is None
    former, back = roll_back(bucket.s3, bucket.name, "ec2-cpu", live.version_id)
    assert former is None
    assert back.digest == live.digest


def test_a_version_that_cannot_be_read_is_listed_too(bucket: Bucket, stored_run: StoredRun) -> None:
    bucket.s3.put_object(Bucket=bucket.name, Key=model_key("ec2-cpu"), Body=b"no artifact")
    publish_to(bucket, stored_run)
    manifests = [each.manifest for each in versions_of(bucket)]
    assert manifests[0].kind == FOREST
    assert manifests[1] is None


@pytest.fixture
def losing(bucket: Bucket) -> Iterator[LostResponses]:
    """The bucket behind a server that loses responses."""
    with running(LostResponses(bucket.endpoint_url)) as server:
        yield server


def hasty_client(url: str) -> Any:
    """Return a client that tries a request twice, for half a second each."""
    config = Config(
        read_timeout=0.5, retries={"total_max_attempts": 2}, s3={"addressing_style": "path"}
    )
    return boto3.client("s3", endpoint_url=url, config=config)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("how", ["error", "hang up", "late"])
def test_a_publish_or_rollback_whose_response_is_lost_is_a_success(
    losing: LostResponses, bucket: Bucket, stored_run: StoredRun, how: How, times: int
) -> None:
    s3 = hasty_client(losing.url)
    losing.lose("PUT", model_key("ec2-cpu"), how, times)
    first = publish(s3, bucket.name, "ec2-cpu", stored_run, FOREST, None)
    losing.lose("PUT", model_key("ec2-cpu"), how, times)
    second = publish(s3, bucket.name, "ec2-cpu", stored_run, LSTM, first)
    assert read_version(bucket.s3, bucket.name, "ec2-cpu") == second
    assert versions_of(bucket) == [second, first]
    losing.lose("PUT", model_key("ec2-cpu"), how, times)
    _, back = roll_back(s3, bucket.name, "ec2-cpu", first.version_id)
    assert read_version(bucket.s3, bucket.name, "ec2-cpu") == back
    assert (back.digest, back.created) == (first.digest, first.created)


def test_a_lost_response_does_not_hide_a_conflict(
    losing: LostResponses, bucket: Bucket, stored_run: StoredRun
) -> None:
    theirs = publish_to(bucket, stored_run)
    losing.lose("PUT", model_key("ec2-cpu"), times=1)
    with pytest.raises(PublishConflictError, match="somebody else"):
        # the very same artifact: only the write's id shows whose it is
        publish(hasty_client(losing.url), bucket.name, "ec2-cpu", stored_run, FOREST, None)
    assert read_version(bucket.s3, bucket.name, "ec2-cpu") == theirs


def test_a_publish_whose_outcome_is_not_known_says_so(
    losing: LostResponses, bucket: Bucket, stored_run: StoredRun
) -> None:
    losing.lose("PUT", model_key("ec2-cpu"), times=2)
    losing.lose("HEAD", model_key("ec2-cpu"), times=2)
    with pytest.raises(PublishError, match="ops-anomaly models"):
        publish(hasty_client(losing.url), bucket.name, "ec2-cpu", stored_run, FOREST, None)


def test_the_policy_for_publishing_is_all_that_it_needs(
    bucket: Bucket, stored_run: StoredRun
) -> None:
    statements = published_policy("publish", bucket.name)
    entry = {"name": "web", "metric": "AWS/EC2 CPUUtilization Average 300", "model": "ec2-cpu"}
    watch_file = parse_watch_file({"version": 1, "metrics": [entry]})
    with running(EnforcedRole(bucket.endpoint_url, statements)) as role:
        s3, console = s3_client(role.url), Console(file=StringIO())
        _, first = publish_run(s3, bucket.name, stored_run, console, kind=FOREST)
        publish_run(s3, bucket.name, stored_run, console, kind=LSTM)
        roll_back(s3, bucket.name, "ec2-cpu", first.version_id)
        assert len(read_history(s3, bucket.name, "ec2-cpu").versions) == 3
        publish_watch_file(s3, bucket.name, watch_file)
    assert not role.denied
    assert role.used == actions(statements)


class FakeS3:
    """Responds to writes with these HTTP statuses; moto has no 409, and no conditional copies.

    Parameters
    ----------
    does
        Whether it carries out what it refuses: the first try, whose response was lost.
    """

    def __init__(self, *statuses: int, does: bool = False) -> None:
        self.statuses, self.does = list(statuses), does
        self.requests: list[dict[str, Any]] = []

    def put_object(self, **request: Any) -> dict[str, str]:
        self.requests.append(request)
        status = self.statuses.pop(0)
        if status != 200:
            raise client_error(status)
        return {"VersionId": "v1"}

    copy_object = put_object

    def head_object(self, **_: Any) -> dict[str, Any]:
        other = {WRITE_ID_METADATA: "of somebody else"}
        metadata = self.requests[-1]["Metadata"] if self.does else other
        return {"VersionId": "v0", "Metadata": metadata}


def client_error(status: int) -> ClientError:
    response = {
        "Error": {"Code": str(status)},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(response, "PutObject")


def test_a_409_is_repeated_under_the_same_condition() -> None:
    s3 = FakeS3(409, 409, 200)
    assert write_if_unchanged("writing", s3, '"etag"', Bucket="b", Key="k") == "v1"
    assert [(each["Key"], each["IfMatch"]) for each in s3.requests] == [("k", '"etag"')] * 3


@pytest.mark.parametrize("statuses", [[412], [409, 412], [500]])
@pytest.mark.parametrize("more", [{"Body": b""}, {"CopySource": {}}])
def test_a_write_that_meets_its_own_first_try_is_a_success(statuses: list[int], more: Any) -> None:
    s3 = FakeS3(*statuses, does=True)
    assert write_if_unchanged("writing", s3, '"etag"', Bucket="b", Key="k", **more) == "v0"


@pytest.mark.parametrize(
    ("statuses", "error"),
    [
        ([409, 412], PublishConflictError),
        ([409] * WRITE_ATTEMPTS, PublishConflictError),
        ([403], PublishError),
        ([500], PublishError),
    ],
)
def test_a_conditional_write_gives_up(statuses: list[int], error: type[Exception]) -> None:
    s3 = FakeS3(*statuses)
    with pytest.raises(error):
        write_if_unchanged("writing", s3, None, Bucket="b", Key="k")
    assert not s3.statuses
    assert s3.requests[0]["IfNoneMatch"] == "*"

"""Each function works under its deployed role, uses all of it, and may do no more."""

from __future__ import annotations

import importlib
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from local.events import put_series, seed_metrics
from local.gateway import LocalContext
from local.stack import WatchStack, local_client, make_watch_stack
from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.models import write_index
from ops_anomaly.aws.objects import (
    CREATED_METADATA,
    DIGEST_METADATA,
    FEEDBACK_KEY,
    INCIDENTS_KEY,
    INDEX_KEY,
    WATCH_KEY,
    model_key,
)
from ops_anomaly.detection.artifact import digest
from ops_anomaly.watcher.feedback_file import decode_feedback
from ops_anomaly.watcher.incident_job import IncidentState, encode_incidents
from ops_anomaly.watcher.incidents import IncidentBoard
from ops_anomaly.watcher.watch_file import parse_watch_file
from tests.conftest import Bucket
from tests.support import boards
from tests.support.fakes import CREATED, small_artifact
from tests.support.forwarding import running
from tests.support.roles import (
    Call,
    EnforcedRole,
    Statement,
    actions,
    is_allowed,
    names_of,
    role_of,
)
from tests.support.shard_jobs import OPENED
from training.publishing import publish_watch_file

ROOT = Path(__file__).parents[2]
PERIOD = 1_800
MODEL = model_key("ec2-cpu")
FUNCTIONS = ("ApiFunction", "WatchFunction", "AlarmFunction", "ConsoleFunction")

BY_LAMBDA = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"}
"""What the event source mappings do with the functions' roles; the functions don't."""


@pytest.fixture
def stack(bucket: Bucket) -> WatchStack:
    return make_watch_stack(bucket.endpoint_url, f"roles-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def role(bucket: Bucket, stack: WatchStack) -> Callable[[str], Any]:
    """Run a server with the role of a function."""

    @contextmanager
    def enforced(function: str) -> Iterator[EnforcedRole]:
        statements = role_of(function, names_of(bucket.name, stack), EventBus="Own")
        with running(EnforcedRole(bucket.endpoint_url, statements)) as server:
            yield server

    return enforced


@pytest.fixture
def function(
    bucket: Bucket, stack: WatchStack, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, EnforcedRole], ModuleType]:
    """Return the module of a handler, which has started cold under a role."""

    def cold(module: str, role: EnforcedRole) -> ModuleType:
        environment = {
            "AWS_ENDPOINT_URL": role.url,
            "MODEL_BUCKET": bucket.name,
            "MODEL_TTL_SECONDS": "0",
            "POWERTOOLS_METRICS_NAMESPACE": "test",
            "POWERTOOLS_SERVICE_NAME": "test",
            **stack.environment(),
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delitem(sys.modules, module, raising=False)
        return importlib.import_module(module)

    return cold


# --- it works, and uses all of it ---------------------------------------------------------------


def test_the_api_works_under_its_role(bucket: Bucket, role, function) -> None:
    artifact = small_artifact()
    metadata = {DIGEST_METADATA: digest(artifact), CREATED_METADATA: CREATED}
    bucket.s3.put_object(Bucket=bucket.name, Key=MODEL, Body=artifact, Metadata=metadata)
    bucket.s3.put_object(Bucket=bucket.name, Key=INDEX_KEY, Body=write_index({"ec2-cpu": "v1"}))
    with role("ApiFunction") as enforced:
        api = function("ops_anomaly.api.handler", enforced)
        for request in ("predict-anomaly", "models", "model", "health"):
            response = api.lambda_handler(sample(request), LocalContext())
            assert response["statusCode"] == 200, response
        assert not enforced.denied
        assert enforced.used == actions(enforced.statements)


def test_a_model_that_is_missing_is_found_missing_without_leave_to_list(role, function) -> None:
    with role("ApiFunction") as enforced:
        api = function("ops_anomaly.api.handler", enforced)
        response = api.lambda_handler(sample("predict-anomaly"), LocalContext())
        assert response["statusCode"] == 503


def test_the_watcher_works_under_its_role(
    bucket: Bucket, stack: WatchStack, role, function
) -> None:
    put_fleet(bucket, stack)
    with role("WatchFunction") as enforced:
        watch = function("ops_anomaly.watcher.handler", enforced).watch_handler
        watch({"watch": "fleet"}, LocalContext())
        assert stack.run_queued(stack.shard_queue, watch, LocalContext()) == 1
        watch({"watch": "incidents"}, LocalContext())
        assert [event["detail-type"] for event in stack.drain_events()] == [OPENED]
        assert len(stack.drain_messages()) == 1
        watch({"watch": "test alert"}, LocalContext())
        assert [event["detail-type"] for event in stack.drain_events()] == ["Test Alert"]
        assert not enforced.denied
        assert enforced.used == actions(enforced.statements) - BY_LAMBDA


def test_incidents_are_shown_and_feedback_is_taken_under_the_role_of_the_console(
    bucket: Bucket, role, function
) -> None:
    incident = boards.single()
    state = encode_incidents(IncidentState(IncidentBoard([incident], [])))
    bucket.s3.put_object(Bucket=bucket.name, Key=INCIDENTS_KEY, Body=state)
    with role("ConsoleFunction") as enforced:
        console = function("ops_anomaly.watcher.handler", enforced).console_handler
        press = {"incident": incident.id, "verdict": "fine"}
        html = console(sample("widget") | press, LocalContext())
        assert f'{{"incident": "{incident.id}", "verdict": "undo"}}' in html
        event = sample("feedback")
        event["detail"]["incident"] = incident.id
        assert console(event, LocalContext()) is None
        given = decode_feedback(
            bucket.s3.get_object(Bucket=bucket.name, Key=FEEDBACK_KEY)["Body"].read()
        )
        assert [(each.verdict, each.by) for each in given] == [
            ("fine", "dashboard ops-anomaly-eu-west-1"),
            ("snooze", "the runbook of nightly restarts"),
        ]
        assert not enforced.denied
        by_lambda = {"sqs:SendMessage"}  # an event that failed, to the dead letters
        assert enforced.used == actions(enforced.statements) - by_lambda


def test_alarms_are_evaluated_under_their_role(stack: WatchStack, role, function) -> None:
    event = sample("alarm-composite-action")
    seed_metrics(event, stack.client("cloudwatch"))
    with role("AlarmFunction") as enforced:
        alarms = function("ops_anomaly.watcher.handler", enforced).alarm_handler
        alarms(event, LocalContext())  # which forwards it to the queue
        assert stack.run_queued(stack.alarm_queue, alarms, LocalContext()) == 1
        [verdict] = stack.drain_events()
        assert verdict["detail-type"] == "Alarm Evaluated"
        assert "has been unusual since" in verdict["detail"]["verdict"]
        assert not enforced.denied
        assert enforced.used == actions(enforced.statements) - BY_LAMBDA


def sample(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "events" / f"{name}.json").read_text(encoding="utf-8"))


def put_fleet(bucket: Bucket, stack: WatchStack) -> None:
    """Put a metric that has just run away, and a watch file that selects it."""
    namespace = f"Roles/{uuid.uuid4().hex[:8]}"
    dimensions = {"InstanceId": f"i-{namespace[-8:]}"}
    now = int(time.time() - 120) // PERIOD * PERIOD
    values = 30.0 + np.random.default_rng(1).normal(0.0, 1.0, 3 * 48)
    values[-2:] = 95.0
    metric = Metric(namespace, "CPUUtilization", tuple(dimensions.items()), "Average", PERIOD)
    put_series(stack.client("cloudwatch"), metric, now, values)
    selector = {
        "name": "machines",
        "namespace": namespace,
        "metric": "CPUUtilization",
        "dimensions": {"InstanceId": "*"},
        "statistic": "Average",
        "period": PERIOD,
        "history_days": 3,
        "settle_seconds": 60,
    }
    watch_file = parse_watch_file({"version": 1, "selectors": [selector]})
    publish_watch_file(bucket.s3, bucket.name, watch_file)


# --- and no more --------------------------------------------------------------------------------

STATE = "state/fleet/0"
S3_REFUSED = {
    "ApiFunction": [
        ("get_object", {"Key": "runs/ec2-cpu/1/report.html"}),
        ("get_object", {"Key": STATE}),
        ("get_object", {"Key": WATCH_KEY}),
        ("put_object", {"Key": MODEL, "Body": b""}),
        ("put_object", {"Key": STATE, "Body": b""}),
    ],
    "WatchFunction": [
        ("get_object", {"Key": "runs/ec2-cpu/1/report.html"}),
        ("put_object", {"Key": MODEL, "Body": b""}),
        ("put_object", {"Key": WATCH_KEY, "Body": b""}),
        ("put_object", {"Key": FEEDBACK_KEY, "Body": b""}),
    ],
    "AlarmFunction": [
        ("get_object", {"Key": "runs/ec2-cpu/1/report.html"}),
        ("get_object", {"Key": MODEL}),
        ("get_object", {"Key": STATE}),
        ("put_object", {"Key": MODEL, "Body": b""}),
        ("put_object", {"Key": STATE, "Body": b""}),
    ],
    "ConsoleFunction": [
        ("get_object", {"Key": "runs/ec2-cpu/1/report.html"}),
        ("get_object", {"Key": MODEL}),
        ("get_object", {"Key": STATE}),
        ("get_object", {"Key": WATCH_KEY}),
        ("put_object", {"Key": MODEL, "Body": b""}),
        ("put_object", {"Key": INCIDENTS_KEY, "Body": b""}),
        ("put_object", {"Key": WATCH_KEY, "Body": b""}),
    ],
}
BY_NO_FUNCTION = [
    ("list_objects_v2", {}),
    ("get_object", {"Key": MODEL, "VersionId": "1"}),  # an older model
    ("delete_object", {"Key": MODEL}),
    ("delete_object", {"Key": STATE}),
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_may_do_more_in_the_bucket(bucket: Bucket, role, name: str) -> None:
    bucket.s3.put_object(Bucket=bucket.name, Key=MODEL, Body=b"a model")
    with role(name) as enforced:
        s3 = local_client("s3", enforced.url)
        for operation, arguments in [*S3_REFUSED[name], *BY_NO_FUNCTION]:
            with pytest.raises(ClientError, match="not authorized"):
                getattr(s3, operation)(Bucket=bucket.name, **arguments)
    assert bucket.s3.get_object(Bucket=bucket.name, Key=MODEL)["Body"].read() == b"a model"


EVENT = {"Source": "ops-anomaly", "DetailType": "d", "Detail": "{}"}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_no_function_may_send_elsewhere(stack: WatchStack, role, name: str) -> None:
    other = stack.client("sns").create_topic(Name="somebody-elses")["TopicArn"]
    entry = {**EVENT, "EventBusName": stack.event_bus}
    with role(name) as enforced:
        for service, operation, arguments in [
            ("sns", "publish", {"TopicArn": other, "Message": "m"}),
            ("sns", "subscribe", {"TopicArn": stack.alert_topic, "Protocol": "email"}),
            ("events", "put_events", {"Entries": [{**EVENT, "EventBusName": "default"}]}),
            # as if it were a service of AWS, or among its own events
            ("events", "put_events", {"Entries": [{**entry, "Source": "aws.ec2"}]}),
            ("events", "put_events", {"Entries": [entry, {**entry, "Source": "other"}]}),
            ("sqs", "purge_queue", {"QueueUrl": stack.shard_queue}),
            ("sqs", "receive_message", {"QueueUrl": stack.dead_letters}),
            (
                "cloudwatch",
                "put_metric_alarm",
                {
                    "AlarmName": "a",
                    "EvaluationPeriods": 1,
                    "ComparisonOperator": "GreaterThanThreshold",
                },
            ),
            ("cloudwatch", "delete_alarms", {"AlarmNames": ["a"]}),
        ]:
            client = local_client(service, enforced.url)
            with pytest.raises(ClientError, match="not authorized"):
                getattr(client, operation)(**arguments)


def test_each_queue_belongs_to_one_function(stack: WatchStack, role) -> None:
    for name, queue in [
        ("ApiFunction", stack.shard_queue),
        ("ApiFunction", stack.alarm_queue),
        ("WatchFunction", stack.alarm_queue),
        ("AlarmFunction", stack.shard_queue),
        ("ConsoleFunction", stack.shard_queue),
        ("ConsoleFunction", stack.alarm_queue),
    ]:
        with role(name) as enforced, pytest.raises(ClientError, match="not authorized"):
            local_client("sqs", enforced.url).send_message(QueueUrl=queue, MessageBody="m")


# --- the enforcement itself ---------------------------------------------------------------------


def allow(action: str, resource: str = "*", **condition: Any) -> Statement:
    return {"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition}


SOURCE = {"ForAllValues:StringEquals": {"events:source": "ops-anomaly"}}


@pytest.mark.parametrize(
    ("statements", "call", "allowed"),
    [
        ([], Call("s3:GetObject"), False),
        ([allow("s3:Get*")], Call("s3:GetObject", "arn:b/k"), True),
        ([allow("s3:get?bject")], Call("s3:GetObject", "arn:b/k"), True),
        ([allow("s3:GetObject", "arn:b/models/*")], Call("s3:GetObject", "arn:b/models/m"), True),
        ([allow("s3:GetObject", "arn:b/models/*")], Call("s3:GetObject", "arn:b/runs/m"), False),
        ([allow("*"), allow("*") | {"Effect": "Deny"}], Call("s3:GetObject"), False),
        ([allow("*", **SOURCE)], Call("a:b", keys={"events:source": ["ops-anomaly"]}), True),
        ([allow("*", **SOURCE)], Call("a:b", keys={"events:source": ["ops-anomaly", "x"]}), False),
        ([allow("*", **SOURCE)], Call("a:b"), True),  # true of none: hence "Null" in the template
        ([allow("*", **SOURCE, Null={"events:source": "false"})], Call("a:b"), False),
    ],
)
def test_policies_are_evaluated_as_by_iam(
    statements: list[Statement], call: Call, allowed: bool
) -> None:
    assert is_allowed(call, statements) is allowed

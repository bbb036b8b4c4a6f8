"""`ops-anomaly smoke` against the laptop stack: all is well, each fault is named, nothing is left.

CloudFormation, API Gateway's key, S3, SNS, SQS and EventBridge are moto's; `LocalLambda` runs the
real handlers where AWS would.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from commands.smoke import Outcome, SmokeError, check_stack
from local.gateway import LocalContext
from local.stack import WatchStack, local_client, make_watch_stack
from ops_anomaly.aws.models import write_index
from ops_anomaly.aws.objects import CREATED_METADATA, DIGEST_METADATA, INDEX_KEY, model_key
from ops_anomaly.detection.artifact import digest
from ops_anomaly.watcher.alarms import BusyError
from ops_anomaly.watcher.watch_file import parse_watch_file
from tests.conftest import Bucket
from tests.integration.conftest import RunningApi
from tests.support.command import Done, command
from tests.support.fakes import CREATED, small_artifact
from tests.support.forwarding import ForwardingServer, Request, Response, running
from tests.support.roles import EnforcedRole, actions, published_policy
from training.publishing import publish_watch_file

PARTS = ["bucket", "API", "model", "tick", "test alert", "alarm", "subscribers", "dead letters"]
WATCH = "ops-anomaly-watch"
ALARMS = "ops-anomaly-alarms"


class LocalLambda(ForwardingServer):
    """Lambda, and whatever else of AWS is moto's.

    Attributes
    ----------
    handlers
        By the function's name.
    """

    def __init__(self, behind: str) -> None:
        super().__init__(behind)
        self.handlers: dict[str, Callable[[Any, Any], Any]] = {}

    def respond(self, request: Request) -> Response | None:
        match request.path.split("/"):
            case ["", _, "functions", name, "invocations"]:
                return self.invoke(name, json.loads(request.body))
        return self.forward(request)

    def invoke(self, name: str, event: Any) -> Response:
        try:
            payload = self.handlers[name](event, LocalContext())
        except Exception as error:  # as Lambda does
            body = {"errorType": type(error).__name__, "errorMessage": str(error)}
            return Response(200, {"x-amz-function-error": "Unhandled"}, json.dumps(body).encode())
        return Response(200, {}, json.dumps(payload).encode())


@dataclass
class Deployed:
    """A stack as CloudFormation describes it, whose functions are these handlers."""

    name: str
    bucket: Bucket
    stack: WatchStack
    aws: LocalLambda
    outputs: dict[str, str]
    alarms: Callable[[Any, Any], Any]
    stopping: threading.Event = field(default_factory=threading.Event)

    def client(self, service: str) -> Any:
        return local_client(service, self.aws.url)

    def create(self) -> None:
        """Let CloudFormation have the outputs."""
        template = {
            "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
            "Outputs": {name: {"Value": value} for name, value in self.outputs.items()},
        }
        self.client("cloudformation").create_stack(
            StackName=self.name, TemplateBody=json.dumps(template)
        )

    def run(self, wait_seconds: float = 20.0) -> dict[str, Outcome]:
        self.create()
        return {each.part: each for each in check_stack(self.name, self.client, wait_seconds)}

    def command(self, *arguments: str) -> Done:
        self.create()
        url = self.aws.url
        return command("smoke", "--stack", self.name, *arguments, AWS_ENDPOINT_URL=url)

    def leftovers(self) -> list[Any]:
        """Return what smoke subscribes, as far as it is there."""
        bus = {"EventBusName": self.stack.event_bus}
        subscriptions = self.client("sns").list_subscriptions_by_topic(
            TopicArn=self.stack.alert_topic
        )["Subscriptions"]
        return [
            *self.client("sqs")
            .list_queues(QueueNamePrefix=f"{self.name}-smoke")
            .get("QueueUrls", []),
            *self.client("events").list_rules(NamePrefix=f"{self.name}-smoke", **bus)["Rules"],
            *[each for each in subscriptions if "-smoke-" in each["Endpoint"]],
        ]

    def evaluate_alarms(self) -> None:
        """Do what the event source mapping of the alarms' queue does."""
        while not self.stopping.wait(0.1):
            with suppress(BusyError):  # delivered again
                self.stack.run_queued(self.stack.alarm_queue, self.alarms, LocalContext())


@pytest.fixture
def deployed(
    bucket: Bucket, api: RunningApi, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployed]:
    name = f"ops-anomaly-{uuid.uuid4().hex[:12]}"
    stack = make_watch_stack(bucket.endpoint_url, name)
    for variable, value in stack.environment().items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint_url)
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")  # they are printed
    monkeypatch.delitem(sys.modules, "ops_anomaly.watcher.handler", raising=False)
    handler = importlib.import_module("ops_anomaly.watcher.handler")
    with running(LocalLambda(bucket.endpoint_url)) as aws:
        aws.handlers[WATCH] = handler.watch_handler
        key = local_client("apigateway", aws.url).create_api_key(name=name)["id"]
        outputs = {
            "ApiUrl": f"{api.url}/",
            "ApiKeyId": key,
            "ModelBucketName": bucket.name,
            "WatchFunctionName": WATCH,
            "AlarmFunctionArn": f"arn:aws:lambda:us-east-1:123456789012:function:{ALARMS}",
            "AlarmQueueUrl": stack.alarm_queue,
            "ShardDeadLettersUrl": stack.shard_dead_letters,
            "DeadLettersUrl": stack.dead_letters,
            "AlertTopicArn": stack.alert_topic,
            "EventBusName": stack.event_bus,
        }
        found = Deployed(name, bucket, stack, aws, outputs, handler.alarm_handler)
        mapping = threading.Thread(target=found.evaluate_alarms)
        mapping.start()
        yield found
        found.stopping.set()
        mapping.join()


def publish_all(bucket: Bucket) -> None:
    """Publish a model, and a watch file."""
    artifact = small_artifact()
    metadata = {DIGEST_METADATA: digest(artifact), CREATED_METADATA: CREATED}
    bucket.s3.put_object(
        Bucket=bucket.name, Key=model_key("ec2-cpu"), Body=artifact, Metadata=metadata
    )
    bucket.s3.put_object(Bucket=bucket.name, Key=INDEX_KEY, Body=write_index({"ec2-cpu": "v1"}))
    entry = {"name": "web", "metric": f"Smoke/{uuid.uuid4().hex} Latency Average 300"}
    publish_watch_file(bucket.s3, bucket.name, parse_watch_file({"version": 1, "metrics": [entry]}))


def test_each_part_of_a_stack_shows_a_sign_of_life(deployed: Deployed) -> None:
    publish_all(deployed.bucket)
    done = deployed.command()
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [(line[:8].strip(), line[8:21].strip()) for line in lines] == [
        ("ok", part) for part in PARTS
    ]
    # and whoever has subscribed has got what was sent, marked as a test
    kinds = [event["detail-type"] for event in deployed.stack.drain_events()]
    assert kinds[:2] == ["Test Alert", "Alarm Evaluated"]
    assert not deployed.leftovers()


def test_the_published_policy_is_all_that_it_needs(deployed: Deployed) -> None:
    publish_all(deployed.bucket)
    deployed.create()
    statements = published_policy("smoke", deployed.bucket.name)
    with running(EnforcedRole(deployed.aws.url, statements)) as role:
        outcomes = list(check_stack(deployed.name, lambda service: local_client(service, role.url)))
    assert [outcome.status for outcome in outcomes] == ["ok"] * len(PARTS), outcomes
    assert not role.denied
    # the stack has a key, and without ListBucket a missing object would be a denied one
    assert actions(statements) - role.used == {"execute-api:Invoke", "s3:ListBucket"}


def test_what_is_not_in_use_is_no_failure(deployed: Deployed) -> None:
    sns = deployed.client("sns")
    [own] = sns.list_subscriptions_by_topic(TopicArn=deployed.stack.alert_topic)["Subscriptions"]
    sns.unsubscribe(SubscriptionArn=own["SubscriptionArn"])
    done = deployed.command("--json")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert (document["stack"], document["ok"]) == (deployed.name, True)
    skipped = {
        each["part"]: each["remedy"] for each in document["checks"] if each["status"] == "skipped"
    }
    assert skipped.keys() == {"model", "tick", "subscribers"}
    assert "ops-anomaly publish" in skipped["model"]
    assert "ops-anomaly watch" in skipped["tick"]
    assert "AlertEmail" in skipped["subscribers"]


def test_a_model_that_can_not_be_served_is_named(deployed: Deployed) -> None:
    publish_all(deployed.bucket)
    s3 = deployed.bucket.s3
    s3.put_object(Bucket=deployed.bucket.name, Key=model_key("ec2-cpu"), Body=b"no artifact")
    failed = deployed.run()["model"]
    assert failed.status == "failed"
    assert "models/ec2-cpu: 503" in failed.detail
    assert "ops-anomaly models" in failed.remedy


def test_an_api_that_can_not_be_reached_is_named(deployed: Deployed) -> None:
    deployed.outputs["ApiUrl"] = "http://127.0.0.1:9/"
    failed = deployed.run()["API"]
    assert (failed.status, failed.detail[:32]) == ("failed", "POST http://127.0.0.1:9/detect: ")


def test_a_bucket_without_versions_is_named(deployed: Deployed) -> None:
    deployed.bucket.s3.put_bucket_versioning(
        Bucket=deployed.bucket.name, VersioningConfiguration={"Status": "Suspended"}
    )
    failed = deployed.run()["bucket"]
    assert failed.status == "failed"
    assert "put-bucket-versioning" in failed.remedy


def test_a_watcher_that_crashes_is_named(deployed: Deployed) -> None:
    def crash(event: Any, context: Any) -> None:
        raise MemoryError("too little")

    deployed.aws.handlers[WATCH] = crash
    found = deployed.run()
    for part in ("tick", "test alert"):
        assert (found[part].status, found[part].detail) == (
            "failed",
            f"{WATCH} failed: MemoryError: too little",
        )
        assert "sam logs" in found[part].remedy
    assert found["alarm"].status == "ok"  # the others are tried all the same
    assert not deployed.leftovers()


def test_a_test_alert_that_does_not_arrive_is_named(deployed: Deployed) -> None:
    deployed.aws.handlers[WATCH] = lambda *_: None
    found = deployed.run(wait_seconds=2.0)
    assert found["test alert"].status == "failed"
    assert f"bus {deployed.stack.event_bus} has none" in found["test alert"].detail
    assert not deployed.leftovers()


def test_a_test_alert_that_arrives_by_the_bus_alone_is_named(deployed: Deployed) -> None:
    def by_the_bus_alone(event: Any, context: Any) -> None:
        entry = {"Source": "ops-anomaly", "DetailType": "Test Alert", "Detail": '{"id": "test-1"}'}
        bus = {"EventBusName": deployed.stack.event_bus}
        deployed.stack.client("events").put_events(Entries=[entry | bus])

    deployed.aws.handlers[WATCH] = by_the_bus_alone
    failed = deployed.run(wait_seconds=3.0)["test alert"]
    assert failed.status == "failed"
    assert "by the bus, and not by the topic" in failed.detail


def test_alarms_that_nobody_evaluates_are_named(deployed: Deployed) -> None:
    deployed.stopping.set()
    failed = deployed.run(wait_seconds=2.0)["alarm"]
    assert failed.status == "failed"
    assert "AlarmFunction" in failed.remedy


def test_dead_letters_are_named(deployed: Deployed) -> None:
    queue = deployed.stack.dead_letters
    deployed.stack.client("sqs").send_message(QueueUrl=queue, MessageBody="a tick")
    done = deployed.command()
    assert done.returncode == 1
    assert f"1 in {queue}" in done.stdout
    assert "purge-queue" in done.stdout


def test_nothing_is_left_of_a_check_that_is_interrupted(deployed: Deployed) -> None:
    deployed.create()
    outcomes = check_stack(deployed.name, deployed.client)
    for outcome in outcomes:
        if outcome.part == "test alert":
            assert deployed.leftovers()
            break
    outcomes.close()
    assert not deployed.leftovers()


def test_nothing_is_left_where_the_topic_can_not_be_subscribed(deployed: Deployed) -> None:
    deployed.outputs["AlertTopicArn"] = "arn:aws:sns:us-east-1:123456789012:gone"
    found = deployed.run()
    assert found["subscription"].status == "failed"
    assert "test alert" not in found
    assert not deployed.leftovers()


def test_a_stack_that_is_not_there_is_one_message(deployed: Deployed) -> None:
    done = command("smoke", "--stack", "no-such-stack", AWS_ENDPOINT_URL=deployed.aws.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no-such-stack" in done.stderr
    assert "AWS_PROFILE" in done.stderr


def test_another_stack_is_not_taken_for_one_of_this_template(deployed: Deployed) -> None:
    del deployed.outputs["EventBusName"]
    with pytest.raises(SmokeError, match="has no output EventBusName"):
        deployed.run()

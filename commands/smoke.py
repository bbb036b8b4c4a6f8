"""`smoke`: signs of life of a deployed stack; each part is used once, failures say what to do."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any, Literal

import boto3
import numpy as np
import requests
import typer
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError
from rich.console import Console
from rich.markup import escape

from commands import CommandError
from commands.options import AsJson, console
from ops_anomaly.aws.errors import (
    AccessDeniedError,
    RequestRefusedError,
    ServiceError,
    translate_aws_errors,
)
from ops_anomaly.aws.objects import INDEX_KEY, WATCH_KEY

Status = Literal["ok", "failed", "skipped"]

WAIT_SECONDS = 30.0
"""How long a copy of a notification may take: a cold start, and a delivery."""

HTTP_SECONDS = 30.0
"""API Gateway itself responds within 29."""

SOURCE = "ops-anomaly"
PROBE_SOURCE = "ops-anomaly.smoke"
"""Of the event that shows that the temporary rule works; no rule of anybody's asks for it."""

ALARM_NAME = "ops-anomaly-smoke-test"
REASON = "A test by ops-anomaly smoke: nothing has happened."

READINGS = 300
SPIKE = 95.0


@dataclass(frozen=True)
class Outcome:
    """What a check has found.

    Attributes
    ----------
    detail : str
        What was seen.
    remedy : str
        What to do where it is not ok.
    """

    part: str
    status: Status
    detail: str
    remedy: str = ""
    seconds: float = 0.0


class SmokeError(CommandError):
    """There is no such stack, or it can't be reached."""


class FailedError(Exception):
    """A part does not work; with what to do."""

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.remedy = remedy


class SkippedError(FailedError):
    """A part is not in use."""


@dataclass(frozen=True)
class Deployment:
    """A stack, and how to reach its parts.

    Attributes
    ----------
    outputs
        Of the stack; see `template.yaml`.
    client
        Returns a client of boto3 for a service.
    wait_seconds
        How long to wait for a notification.
    """

    name: str
    outputs: Mapping[str, str]
    client: Callable[[str], Any]
    wait_seconds: float = WAIT_SECONDS

    @property
    def temporary(self) -> str:
        """How the names of what is made for a check begin; those of rules have 64 characters."""
        return f"{self.name[:40]}-smoke-"

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a resource in the account and region of the stack."""
        _, partition, _, region, account, *_ = self.outputs["AlarmFunctionArn"].split(":")
        return f"arn:{partition}:{service}:{region}:{account}:{resource}"

    def request(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Send a request to the API, with the stack's key or signed."""
        url = self.outputs["ApiUrl"] + path
        data = b"" if body is None else json.dumps(body).encode()
        headers = self.headers(method, url, data)
        try:
            return requests.request(method, url, data=data, headers=headers, timeout=HTTP_SECONDS)
        except requests.RequestException as error:
            raise FailedError(
                f"{method} {url}: {error}", "check the network, and the stack's API in the console"
            ) from error

    def headers(self, method: str, url: str, data: bytes) -> dict[str, str]:
        """Return the headers of a request; they say who asks."""
        headers = {"Content-Type": "application/json"}
        if "ApiKeyId" not in self.outputs:  # Authorization=IAM
            return signed(method, url, data, headers)
        with translate_aws_errors("reading the API key", "apigateway:GET"):
            key = self.client("apigateway").get_api_key(
                apiKey=self.outputs["ApiKeyId"], includeValue=True
            )
        return {**headers, "x-api-key": key["value"]}

    def invoke_watcher(self, event: Mapping[str, str]) -> None:
        """Invoke the watch function, and wait for it to end."""
        function = self.outputs["WatchFunctionName"]
        with translate_aws_errors(f"invoking {function}", "lambda:InvokeFunction"):
            response = self.client("lambda").invoke(
                FunctionName=function, Payload=json.dumps(event).encode()
            )
        if "FunctionError" in response:
            error = json.loads(response["Payload"].read() or b"{}")
            raise FailedError(
                f"{function} failed: {error.get('errorType')}: {error.get('errorMessage')}",
                f"see its log: sam logs --stack-name {self.name} --name WatchFunction",
            )

    def exists(self, key: str) -> bool:
        """Return whether the bucket has an object."""
        try:
            with translate_aws_errors(f"reading {key}", "s3:GetObject and s3:ListBucket"):
                self.client("s3").get_object(Bucket=self.outputs["ModelBucketName"], Key=key)
        except RequestRefusedError:  # 404
            return False
        return True


def signed(method: str, url: str, data: bytes, headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers with a signature of the environment's identity."""
    session = boto3.Session()
    request = AWSRequest(method, url, data=data, headers=dict(headers))
    SigV4Auth(session.get_credentials(), "execute-api", session.region_name).add_auth(request)
    return dict(request.headers.items())


def smoke(
    stack: Annotated[str, typer.Option(help="Name of the deployed stack.")],
    as_json: AsJson = False,
) -> None:
    """Use each part of a deployed stack once, and say what fails.

    It sends a test alert and a test alarm: whoever has subscribed gets them, marked as tests. The
    exit code is 1 if anything failed; what is not in use is skipped, and no failure.
    """
    outcomes = []
    for outcome in check_stack(stack, default_client):
        outcomes.append(outcome)
        if not as_json:
            print_outcome(outcome, console)
    if as_json:
        typer.echo(outcomes_json(stack, outcomes))
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


def check_stack(
    name: str, client: Callable[[str], Any], wait_seconds: float = WAIT_SECONDS
) -> Generator[Outcome, None, None]:
    """Use each part of a stack once; yield what each has shown.

    Parameters
    ----------
    client
        Returns a client of boto3 for a service.

    Raises
    ------
    SmokeError
        If there is no such stack.
    """
    stack = Deployment(name, read_outputs(client, name), client, wait_seconds)
    yield attempt("bucket", check_bucket, stack)
    yield attempt("API", check_detect, stack)
    yield attempt("model", check_model, stack)
    yield attempt("tick", check_tick, stack)
    yield from check_notifications(stack)
    yield attempt("subscribers", check_subscribers, stack)
    yield attempt("dead letters", check_dead_letters, stack)


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Print a line of what was seen, and one of what to do."""
    style = {"ok": "green", "failed": "red", "skipped": "yellow"}[outcome.status]
    line = f"[{style}]{outcome.status:<8}[/]{outcome.part:<13} {escape(outcome.detail)}"
    console.print(line, highlight=False, soft_wrap=True)
    if outcome.remedy:
        console.print(f"{'':22}{escape(outcome.remedy)}", highlight=False, soft_wrap=True)


def outcomes_json(name: str, outcomes: Sequence[Outcome]) -> str:
    """Return outcomes as JSON."""
    is_ok = all(outcome.status != "failed" for outcome in outcomes)
    document = {"stack": name, "ok": is_ok, "checks": [asdict(each) for each in outcomes]}
    return json.dumps(document, indent=2, ensure_ascii=False)


def default_client(service: str) -> Any:
    """Return a client for the account and region of the environment.

    Raises
    ------
    SmokeError
        If the environment names none.
    """
    try:
        return boto3.client(service)
    except (BotoCoreError, ValueError) as error:
        raise SmokeError(
            f"AWS can't be reached: {error}; set AWS_DEFAULT_REGION, and AWS_PROFILE or credentials"
        ) from error


def read_outputs(client: Callable[[str], Any], name: str) -> dict[str, str]:
    """Return the outputs of a stack.

    Raises
    ------
    SmokeError
        If there is no such stack, or it is another one's.
    """
    try:
        with translate_aws_errors(f"reading stack {name}", "cloudformation:DescribeStacks"):
            [stack] = client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ServiceError as error:
        raise SmokeError(
            f"{error}; check the name, the credentials (AWS_PROFILE) and the region "
            "(AWS_DEFAULT_REGION)"
        ) from error
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack.get("Outputs", [])}
    missing = sorted(NEEDED_OUTPUTS - outputs.keys())
    if missing:
        raise SmokeError(
            f"stack {name} ({stack['StackStatus']}) has no output {', '.join(missing)}: it is not "
            "a stack of this template, or has to be deployed again"
        )
    return outputs


NEEDED_OUTPUTS = {
    "AlarmFunctionArn",
    "AlarmQueueUrl",
    "AlertTopicArn",
    "ApiUrl",
    "DeadLettersUrl",
    "EventBusName",
    "ModelBucketName",
    "ShardDeadLettersUrl",
    "WatchFunctionName",
}


def attempt(part: str, check: Callable[..., str], *arguments: Any) -> Outcome:
    """Return what a check has found, whatever it raises on purpose."""
    began = time.monotonic()

    def outcome(status: Status, detail: str, remedy: str = "") -> Outcome:
        return Outcome(part, status, detail, remedy, round(time.monotonic() - began, 1))

    try:
        return outcome("ok", check(*arguments))
    except SkippedError as error:
        return outcome("skipped", str(error), error.remedy)
    except FailedError as error:
        return outcome("failed", str(error), error.remedy)
    except AccessDeniedError as error:
        return outcome("failed", str(error), "let your own role do that; see docs/operations.md")
    except ServiceError as error:
        return outcome("failed", str(error), "check the service in the console, then try again")


# --- bucket, API, watcher -----------------------------------------------------------------------


def check_bucket(stack: Deployment) -> str:
    """Check that models can be rolled back."""
    bucket = stack.outputs["ModelBucketName"]
    with translate_aws_errors(f"reading bucket {bucket}", "s3:GetBucketVersioning"):
        versioning = stack.client("s3").get_bucket_versioning(Bucket=bucket)
    if versioning.get("Status") != "Enabled":
        raise FailedError(
            f"{bucket} is not versioned",
            f"aws s3api put-bucket-versioning --bucket {bucket} "
            "--versioning-configuration Status=Enabled",
        )
    return f"{bucket} is versioned"


def check_detect(stack: Deployment) -> str:
    """Check that the API finds a spike in a series."""
    response = stack.request("POST", "detect", {"series": sample_series()})
    expect_ok(response, stack)
    found = [point["timestamp"] for point in response.json()["points"] if point["is_anomaly"]]
    if len(found) != 1:
        raise FailedError(
            f"/detect found {len(found)} anomalies in a series that has one",
            "deploy again: this is not the package that the tests have passed",
        )
    return f"/detect found the spike in {READINGS} readings"


def sample_series() -> list[dict[str, Any]]:
    """Return a day of readings, the last of which is a spike."""
    values = 30.0 + np.random.default_rng(7).normal(0.0, 1.0, READINGS)
    values[-1] = SPIKE
    first = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        {
            "timestamp": (first + timedelta(minutes=5 * number)).isoformat(),
            "value": round(float(value), 3),
        }
        for number, value in enumerate(values)
    ]


def check_model(stack: Deployment) -> str:
    """Check that every published model is served."""
    if not stack.exists(INDEX_KEY):
        raise SkippedError(
            "no model is published: /predict and /health respond 503",
            "nothing, unless you use them: ops-anomaly train, then ops-anomaly publish",
        )
    response = stack.request("GET", "models")
    expect_ok(response, stack)
    names = response.json()["models"]
    for name in names:
        expect_ok(stack.request("GET", f"models/{name}"), stack)
    expect_ok(stack.request("GET", "health"), stack)
    return f"served: {', '.join(names)}"


def expect_ok(response: requests.Response, stack: Deployment) -> None:
    """Raise `FailedError` unless the API has responded 200."""
    if response.status_code == HTTPStatus.OK:
        return
    try:
        reason = response.json()["detail"]
    except (ValueError, LookupError, TypeError):
        reason = response.text.strip()[:200]
    remedies = {
        HTTPStatus.FORBIDDEN: "check Authorization, and that the key is enabled in its usage plan",
        HTTPStatus.TOO_MANY_REQUESTS: "others use up RequestsPerSecond: try again, or raise it",
        HTTPStatus.SERVICE_UNAVAILABLE: "publish the model, or roll it back: ops-anomaly models",
    }
    raise FailedError(
        f"{response.request.method} {response.url}: {response.status_code} {reason}",
        remedies.get(
            HTTPStatus(response.status_code),
            f"see the log: sam logs --stack-name {stack.name} --name ApiFunction",
        ),
    )


def check_tick(stack: Deployment) -> str:
    """Check that the watcher handles a tick of its schedule."""
    stack.invoke_watcher({"watch": "fleet"})
    if not stack.exists(WATCH_KEY):
        raise SkippedError(
            "the watcher has responded, and watches nothing: no watch file is published",
            f"ops-anomaly watch watch.yaml --bucket {stack.outputs['ModelBucketName']}",
        )
    return "the fleet was planned, and its shards were queued"


# --- notifications ------------------------------------------------------------------------------


def check_notifications(stack: Deployment) -> Iterator[Outcome]:
    """Check that a test alert, and what is found of an alarm, arrive by bus and by topic."""
    queue = f"{stack.temporary}{uuid.uuid4().hex[:8]}"
    try:
        with (
            translate_aws_errors(
                f"subscribing and removing {queue}", "what docs/operations.md lists"
            ),
            mailbox(stack, queue) as received,
        ):
            yield attempt("test alert", check_test_alert, stack, received)
            yield attempt("alarm", check_alarm, stack, received)
    except ServiceError as error:
        yield Outcome(
            "subscription", "failed", str(error), f"remove queue and rule {queue} if they are left"
        )


@dataclass
class Mailbox:
    """A temporary queue that gets everything that bus and topic get.

    Attributes
    ----------
    received : list
        Events, and texts of messages.
    """

    sqs: Any
    url: str
    wait_seconds: float
    received: list[Any] = field(default_factory=list)

    def wait_for(self, matches: Callable[[Any], bool]) -> Any:
        """Return the first thing received that matches, or None if there is none in time."""
        deadline = time.monotonic() + self.wait_seconds
        while (found := self.find(matches)) is None and time.monotonic() < deadline:
            self.receive()
        return found

    def find(self, matches: Callable[[Any], bool]) -> Any:
        """Return the first thing received so far that matches, or None."""
        return next(filter(matches, self.received), None)

    def receive(self) -> None:
        """Wait a second for more."""
        response = self.sqs.receive_message(
            QueueUrl=self.url, MaxNumberOfMessages=10, WaitTimeSeconds=1
        )
        for message in response.get("Messages", []):
            try:
                self.received.append(json.loads(message["Body"]))
            except ValueError:
                self.received.append(message["Body"])
            self.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])


@contextmanager
def mailbox(stack: Deployment, name: str) -> Iterator[Mailbox]:
    """Subscribe a temporary queue to bus and topic; remove it afterwards, whatever happens."""
    sqs, sns, events = map(stack.client, ("sqs", "sns", "events"))
    bus, topic = stack.outputs["EventBusName"], stack.outputs["AlertTopicArn"]
    queue = stack.arn("sqs", name)
    with ExitStack() as removals:
        rule = events.put_rule(
            Name=name,
            EventBusName=bus,
            EventPattern=json.dumps({"source": [SOURCE, PROBE_SOURCE]}),
            Description=f"Temporary, of ops-anomaly smoke --stack {stack.name}",
        )["RuleArn"]
        removals.callback(events.delete_rule, Name=name, EventBusName=bus)
        # the policy at its creation: a later one may take a minute to have an effect
        policy = queue_policy(queue, {"events.amazonaws.com": rule, "sns.amazonaws.com": topic})
        url = sqs.create_queue(QueueName=name, Attributes={"Policy": json.dumps(policy)})[
            "QueueUrl"
        ]
        removals.callback(sqs.delete_queue, QueueUrl=url)
        events.put_targets(Rule=name, EventBusName=bus, Targets=[{"Id": "queue", "Arn": queue}])
        removals.callback(events.remove_targets, Rule=name, EventBusName=bus, Ids=["queue"])
        subscription = sns.subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=queue,
            Attributes={"RawMessageDelivery": "true"},
            ReturnSubscriptionArn=True,
        )["SubscriptionArn"]
        removals.callback(sns.unsubscribe, SubscriptionArn=subscription)
        yield Mailbox(sqs, url, stack.wait_seconds)


def queue_policy(arn: str, senders: Mapping[str, str]) -> dict[str, Any]:
    """Return a policy that lets services send to a queue, each on behalf of one resource."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": service},
                "Action": "sqs:SendMessage",
                "Resource": arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": source}},
            }
            for service, source in senders.items()
        ],
    }


def check_test_alert(stack: Deployment, received: Mailbox) -> str:
    """Check that a notification that is marked as a test arrives by both channels."""
    wait_until_the_rule_works(stack, received)
    stack.invoke_watcher({"watch": "test alert"})
    event = received.wait_for(lambda each: kind_of(each) == "Test Alert")
    if event is None:
        raise FailedError(
            f"the watcher sent a test alert, and bus {stack.outputs['EventBusName']} has none",
            "compare EventBusName with EVENT_BUS_NAME of the watch function",
        )
    identity = event["detail"]["id"]
    if received.wait_for(lambda each: isinstance(each, str) and identity in each) is None:
        raise FailedError(
            "a test alert arrived by the bus, and not by the topic",
            f"check policy and key of {stack.outputs['AlertTopicArn']}",
        )
    return f"{identity} arrived by bus and topic, and with whoever has subscribed"


def wait_until_the_rule_works(stack: Deployment, received: Mailbox) -> None:
    """Send events until one arrives: a new rule takes a while to have an effect."""
    bus = stack.outputs["EventBusName"]
    probe = {"EventBusName": bus, "Source": PROBE_SOURCE, "DetailType": "Probe", "Detail": "{}"}
    deadline = time.monotonic() + stack.wait_seconds
    while received.find(lambda each: kind_of(each) == "Probe") is None:
        if time.monotonic() > deadline:
            raise FailedError(
                f"a temporary rule on bus {bus} delivers nothing to a temporary queue",
                "check that the bus is there, and what the account's policies deny EventBridge",
            )
        with translate_aws_errors("sending a probe", "events:PutEvents"):
            stack.client("events").put_events(Entries=[probe])
        received.receive()


def kind_of(received: Any) -> str:
    """Return an event's detail-type; empty for a message."""
    return received["detail-type"] if isinstance(received, dict) else ""


def check_alarm(stack: Deployment, received: Mailbox) -> str:
    """Check that an alarm in the queue is evaluated, and notified by both channels."""
    send_alarm(stack, "ALARM", "OK")
    try:
        event = received.wait_for(
            lambda each: (
                kind_of(each) == "Alarm Evaluated" and each["detail"]["alarm"]["name"] == ALARM_NAME
            )
        )
        if event is None:
            raise FailedError(
                f"an alarm in the queue was not evaluated within {stack.wait_seconds:.0f} s",
                f"see the log: sam logs --stack-name {stack.name} --name AlarmFunction; and that "
                "its event source mapping is enabled",
            )
        # not before it was notified, as then the function that did it has almost ended
        received.wait_for(lambda each: isinstance(each, str) and ALARM_NAME in each)
    finally:
        send_alarm(stack, "OK", "ALARM")
    return f"evaluated: {event['detail']['verdict']}"


def send_alarm(stack: Deployment, state: str, previous: str) -> None:
    """Put an alarm on the watcher's own invocations into the queue, marked as a test."""
    metric = {
        "namespace": "AWS/Lambda",
        "name": "Invocations",
        "dimensions": {"FunctionName": stack.outputs["WatchFunctionName"]},
    }
    query = {
        "id": "m1",
        "metricStat": {"metric": metric, "period": 300, "stat": "Sum"},
        "returnData": True,
    }
    event = {
        "source": "aws.cloudwatch",
        "detail-type": "CloudWatch Alarm State Change",
        "resources": [stack.arn("cloudwatch", f"alarm:{ALARM_NAME}")],
        "detail": {
            "alarmName": ALARM_NAME,
            "state": {
                "value": state,
                "reason": REASON,
                "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            },
            "previousState": {"value": previous},
            "configuration": {"metrics": [query]},
        },
    }
    with translate_aws_errors("sending an alarm to be evaluated", "sqs:SendMessage"):
        stack.client("sqs").send_message(
            QueueUrl=stack.outputs["AlarmQueueUrl"], MessageBody=json.dumps(event)
        )


# --- what waits for somebody --------------------------------------------------------------------


def check_subscribers(stack: Deployment) -> str:
    """Check that somebody gets the messages, and nobody has yet to confirm."""
    topic = stack.outputs["AlertTopicArn"]
    with translate_aws_errors("listing subscribers", "sns:ListSubscriptionsByTopic"):
        pages = stack.client("sns").get_paginator("list_subscriptions_by_topic")
        found = [each for page in pages.paginate(TopicArn=topic) for each in page["Subscriptions"]]
    # one that has just been removed may still be listed
    found = [each for each in found if f":{stack.temporary}" not in each["Endpoint"]]
    pending = [
        each["Endpoint"] for each in found if each["SubscriptionArn"] == "PendingConfirmation"
    ]
    if pending:
        raise FailedError(
            f"not confirmed: {', '.join(pending)}",
            "open the link in the e-mail of AWS Notifications, within two days",
        )
    if not found:
        raise SkippedError(
            "nobody has subscribed to the alerts as messages",
            "set AlertEmail, or subscribe to AlertTopicArn; an e-mail that nobody has confirmed "
            "for two days has to be subscribed again",
        )
    return f"{len(found)} confirmed"


def check_dead_letters(stack: Deployment) -> str:
    """Check that nothing has failed after all retries."""
    urls = (stack.outputs["DeadLettersUrl"], stack.outputs["ShardDeadLettersUrl"])
    waiting = {url: count for url in urls if (count := waiting_in(stack, url))}
    if waiting:
        listed = ", ".join(f"{count} in {url}" for url, count in waiting.items())
        raise FailedError(
            f"failed after all retries: {listed}",
            "aws sqs receive-message --queue-url URL shows them, the functions' logs say why; then "
            "aws sqs purge-queue --queue-url URL",
        )
    return "none"


def waiting_in(stack: Deployment, url: str) -> int:
    """Return about how many messages wait in a queue."""
    with translate_aws_errors(f"reading queue {url}", "sqs:GetQueueAttributes"):
        attributes = stack.client("sqs").get_queue_attributes(
            QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"]
        )
    return int(attributes["Attributes"]["ApproximateNumberOfMessages"])

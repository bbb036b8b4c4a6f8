"""AWS on this machine, in moto's server: a versioned bucket; the watcher's bus, topic and queues.

Nothing here can reach AWS: `isolate_from_aws` drops whatever this process knows of an account.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import requests
from moto.server import ThreadedMotoServer

BUCKET = "models"
MAX_RECEIVES = {"shards": 3, "alarms": 5}
"""Deliveries before a message becomes a dead letter, as in the template."""

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def local_client(service: str, endpoint_url: str) -> Any:
    """Return a client of boto3 for a server on this machine."""
    return boto3.client(
        service,
        endpoint_url=endpoint_url,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        region_name=CREDENTIALS["AWS_DEFAULT_REGION"],
    )


def isolate_from_aws() -> None:
    """Drop what this process knows of any account, and every proxy on the way to the bucket."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(
        CREDENTIALS,
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )


def use_local_bucket(endpoint_url: str, bucket: str, model: str, ttl_seconds: float) -> None:
    """Set what the deployed functions get from `template.yaml`, for this process."""
    os.environ.update(
        AWS_REGION=CREDENTIALS["AWS_DEFAULT_REGION"],
        AWS_ENDPOINT_URL=endpoint_url,
        MODEL_BUCKET=bucket,
        DEFAULT_MODEL=model,
        MODEL_TTL_SECONDS=str(ttl_seconds),
        AZURE_COMPATIBLE="Yes",
        POWERTOOLS_SERVICE_NAME="anomaly-api",
        POWERTOOLS_METRICS_NAMESPACE="AnomalyDetection",
        POWERTOOLS_METRICS_DISABLED="true",  # they are log lines that nobody collects here
        POWERTOOLS_LOG_LEVEL="WARNING",
    )


@contextmanager
def local_bucket() -> Iterator[str]:
    """Start a server on 127.0.0.1 with one versioned bucket; yield its URL, stop it afterwards."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        s3 = local_client("s3", url)
        s3.create_bucket(Bucket=BUCKET)
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        yield url
        requests.post(f"{url}/moto-api/reset", timeout=10)  # moto's state is the process's
    finally:
        server.stop()


@dataclass(frozen=True)
class WatchStack:
    """What the template gives the watcher, and two queues that subscribe to what it publishes.

    Attributes
    ----------
    event_queue, message_queue : str
        URLs of the queues behind the bus and behind the topic.
    """

    endpoint_url: str
    event_bus: str
    alert_topic: str
    shard_queue: str
    shard_dead_letters: str
    alarm_queue: str
    dead_letters: str
    event_queue: str
    message_queue: str

    def client(self, service: str) -> Any:
        """Return a client of boto3 for moto's server."""
        return local_client(service, self.endpoint_url)

    def environment(self) -> dict[str, str]:
        """Return the variables that the deployed functions get from `template.yaml`."""
        return {
            "EVENT_BUS_NAME": self.event_bus,
            "ALERT_TOPIC_ARN": self.alert_topic,
            "SHARD_QUEUE_URL": self.shard_queue,
            "ALARM_QUEUE_URL": self.alarm_queue,
        }

    def run_queued(self, queue: str, handler: Callable[[Any, Any], Any], context: Any) -> int:
        """Invoke a handler with each message of a queue, as Lambda does; return how many it took.

        A message whose handling fails is delivered again, and in the end becomes a dead letter.
        """
        sqs, taken = self.client("sqs"), 0
        while messages := sqs.receive_message(QueueUrl=queue).get("Messages"):
            for message in messages:
                receipt = {"QueueUrl": queue, "ReceiptHandle": message["ReceiptHandle"]}
                try:
                    handler(sqs_event(message), context)
                except BaseException:
                    # as after the visibility timeout, for which nobody waits here
                    sqs.change_message_visibility(**receipt, VisibilityTimeout=0)
                    raise
                sqs.delete_message(**receipt)
                taken += 1
        return taken

    def drain_events(self) -> list[dict[str, Any]]:
        """Return the events published since the last call."""
        return [json.loads(body) for body in self._drained(self.event_queue)]

    def drain_messages(self) -> list[dict[str, Any]]:
        """Return the messages published since the last call."""
        return [json.loads(body) for body in self._drained(self.message_queue)]

    def _drained(self, queue: str) -> list[str]:
        sqs, bodies = self.client("sqs"), []
        while messages := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                bodies.append(message["Body"])
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return bodies


def make_watch_stack(endpoint_url: str, name: str) -> WatchStack:
    """Create the watcher's bus, topic and queues, under names that begin with `name`."""
    sqs, sns, events = (local_client(each, endpoint_url) for each in ("sqs", "sns", "events"))
    shard_dead_letters = create_queue(sqs, f"{name}-shard-dead-letters.fifo")
    dead_letters, event_queue, message_queue = (
        create_queue(sqs, f"{name}-{part}") for part in ("dead-letters", "events", "messages")
    )
    topic = sns.create_topic(Name=f"{name}-alerts")["TopicArn"]
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn(sqs, message_queue))
    events.create_event_bus(Name=name)
    events.put_rule(
        Name=f"{name}-all",
        EventBusName=name,
        EventPattern=json.dumps({"source": ["ops-anomaly"]}),
    )
    target = {"Id": "queue", "Arn": queue_arn(sqs, event_queue)}
    events.put_targets(Rule=f"{name}-all", EventBusName=name, Targets=[target])
    return WatchStack(
        endpoint_url=endpoint_url,
        event_bus=name,
        alert_topic=topic,
        shard_queue=create_queue(
            sqs, f"{name}-shards.fifo", shard_dead_letters, MAX_RECEIVES["shards"]
        ),
        shard_dead_letters=shard_dead_letters,
        alarm_queue=create_queue(sqs, f"{name}-alarms", dead_letters, MAX_RECEIVES["alarms"]),
        dead_letters=dead_letters,
        event_queue=event_queue,
        message_queue=message_queue,
    )


def create_queue(sqs: Any, name: str, dead_letters: str = "", max_receives: int = 0) -> str:
    """Create a queue, FIFO if it is named so, and its redrive; return its URL."""
    attributes = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
    if dead_letters:
        redrive = {
            "deadLetterTargetArn": queue_arn(sqs, dead_letters),
            "maxReceiveCount": max_receives,
        }
        attributes["RedrivePolicy"] = json.dumps(redrive)
    return str(sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"])


def queue_arn(sqs: Any, url: str) -> str:
    """Return the ARN of a queue."""
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
    return str(attributes["QueueArn"])


def sqs_event(message: dict[str, Any]) -> dict[str, Any]:
    """Return the event in which Lambda delivers a message of the queue."""
    return {
        "Records": [
            {
                "messageId": message["MessageId"],
                "receiptHandle": message["ReceiptHandle"],
                "body": message["Body"],
                "attributes": {"ApproximateReceiveCount": "1"},
                "messageAttributes": {},
                "md5OfBody": message["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:000000000000:shards",
                "awsRegion": CREDENTIALS["AWS_DEFAULT_REGION"],
            }
        ]
    }

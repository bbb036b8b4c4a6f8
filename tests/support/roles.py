"""The roles of the deployed functions, enforced: a server in front of moto's that is one of them.

moto's own enforcement knows no resources but those of S3 and SQS, takes PublishBatch for a
permission, which it is not, and can't evaluate the conditions. So the policies of the transformed
template are evaluated here, for what the functions call. The policies of the resources (buckets,
queues, topics, keys) are not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote

from local.stack import WatchStack, local_client
from tests.support.cloudformation import ROOT, as_list, deployed
from tests.support.forwarding import ForwardingServer, Request, Response

Statement = Mapping[str, Any]

REGION, ACCOUNT = "us-east-1", "123456789012"
"""Of moto's resources."""

PSEUDO_PARAMETERS = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Partition": "aws",
    "AWS::Region": REGION,
    "AWS::URLSuffix": "amazonaws.com",
}

COVERED_BY = {"PublishBatch": "Publish", "SendMessageBatch": "SendMessage"}
"""Operations that have no permission of their own."""

OF_OBJECTS = {
    "GET": "GetObject",
    "HEAD": "GetObject",
    "PUT": "PutObject",
    "DELETE": "DeleteObject",
}
OF_BUCKETS = {"versioning": "GetBucketVersioning", "versions": "ListBucketVersions"}
"""Permissions, by the method; and by the part of a bucket that is read, ListBucket otherwise."""


# --- policies -----------------------------------------------------------------------------------


def role_of(function: str, names: Mapping[str, str], **parameters: str) -> list[Statement]:
    """Return what the role of a function allows and denies.

    Parameters
    ----------
    names
        What `Ref` gives for a logical name, and `GetAtt` for name.attribute.
    parameters
        Of the template, where they do not have their defaults.
    """
    role = deployed(**parameters)[f"{function}Role"]["Properties"]
    resolve = Resolution(PSEUDO_PARAMETERS | dict(names))
    return [
        resolve(statement)
        for policy in role["Policies"]
        for statement in as_list(policy["PolicyDocument"]["Statement"])
    ]


def published_policy(name: str, bucket: str) -> list[Statement]:
    """Return the statements of a policy to copy, for a bucket that is named otherwise."""
    text = (ROOT / "docs" / "policies" / f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text.replace("s3:::ops-anomaly-*", f"s3:::{bucket}"))["Statement"]


def actions(statements: list[Statement]) -> set[str]:
    """Return what policies allow, whatever on."""
    return {action for statement in statements for action in as_list(statement["Action"])}


def names_of(bucket: str, stack: WatchStack) -> dict[str, str]:
    """Return what CloudFormation would call the parts of a local stack with a bus of its own."""
    queues = {
        "ShardQueue": stack.shard_queue,
        "ShardDeadLetters": stack.shard_dead_letters,
        "AlarmQueue": stack.alarm_queue,
        "DeadLetters": stack.dead_letters,
    }
    return {
        "ModelBucket": bucket,
        "ModelBucket.Arn": f"arn:aws:s3:::{bucket}",
        "AlertBus": stack.event_bus,
        "AlertBus.Arn": bus_arn(stack.event_bus),
        "AlertTopic": stack.alert_topic,
        **queues,
        **{f"{name}.Arn": queue_arn(url) for name, url in queues.items()},
    }


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def bus_arn(name: str) -> str:
    return arn("events", f"event-bus/{name.rpartition('/')[2]}")


def queue_arn(url: str) -> str:
    return arn("sqs", url.rpartition("/")[2])


@dataclass(frozen=True)
class Resolution:
    """Fills in the names of what has been created."""

    names: Mapping[str, str]

    def __call__(self, value: Any) -> Any:
        match value:
            case {"Ref": name}:
                return self.names[name]
            case {"Fn::GetAtt": [name, attribute]}:
                return self.names[f"{name}.{attribute}"]
            case {"Fn::Sub": text}:
                text, variables = text if isinstance(text, list) else (text, {})
                names = {**self.names, **self(variables)}
                return re.sub(r"\$\{([^}]+)\}", lambda found: names[found[1]], text)
            case dict():
                return {key: self(each) for key, each in value.items()}
            case list():
                return [self(each) for each in value]
            case _:
                return value


@dataclass(frozen=True)
class Call:
    """What IAM is asked about a request: an action on a resource, and the condition keys."""

    action: str
    resource: str = "*"
    keys: Mapping[str, list[str]] = field(default_factory=dict)


def is_allowed(call: Call, statements: list[Statement]) -> bool:
    """Return whether some statement allows a call, and none denies it."""
    effects = {each["Effect"] for each in statements if applies(each, call)}
    return effects == {"Allow"}


def applies(statement: Statement, call: Call) -> bool:
    return (
        any(matches(each.lower(), call.action.lower()) for each in as_list(statement["Action"]))
        and any(matches(each, call.resource) for each in as_list(statement["Resource"]))
        and all(
            CONDITIONS[operator](call.keys.get(key, []), as_list(expected))
            for operator, pairs in statement.get("Condition", {}).items()
            for key, expected in pairs.items()
        )
    )


def matches(pattern: str, text: str) -> bool:
    """Return whether a pattern with * and ? matches all of a text."""
    parts = (re.escape(part).replace(r"\?", ".") for part in pattern.split("*"))
    return bool(re.fullmatch(".*".join(parts), text))


CONDITIONS: dict[str, Callable[[list[str], list[str]], bool]] = {
    "StringEquals": lambda found, expected: bool(found) and found[0] in expected,
    "ForAllValues:StringEquals": lambda found, expected: set(found) <= set(expected),
    "Null": lambda found, expected: str(not found).lower() in expected,
}
"""Those that the template has; any other one is a `KeyError`."""


# --- calls --------------------------------------------------------------------------------------


def calls_of(request: Request) -> Iterator[Call]:
    """Yield what a request needs to be allowed; what is not known here has no resource."""
    service = signing_service(request)
    if service == "s3":
        yield from s3_calls(request)
        return
    if service == "apigateway":
        yield Call(f"apigateway:{request.method}", f"arn:aws:apigateway:{REGION}::{request.path}")
        return
    operation, arguments = operation_of(request)
    action = f"{'cloudwatch' if service == 'monitoring' else service}:{operation}"
    match service, arguments:
        case "sqs", {"QueueUrl": name} | {"QueueName": name}:
            yield Call(action, queue_arn(name))
        case "sns", {"TopicArn": topic}:
            yield Call(action, topic)
        case "events", {"Entries": entries}:
            sources = {"events:source": [entry["Source"] for entry in entries]}
            for bus in {entry.get("EventBusName", "default") for entry in entries}:
                yield Call(action, bus_arn(bus), sources)
        case "events", {"EventBusName": bus, **rest}:
            of_bus = "" if bus == "default" else f"{bus}/"
            yield Call(action, arn("events", f"rule/{of_bus}{rest.get('Rule', rest.get('Name'))}"))
        case "lambda", {"FunctionName": name}:  # or its ARN
            yield Call(action, arn("lambda", f"function:{name.rpartition(':')[2]}"))
        case "cloudformation", {"StackName": name}:
            yield Call(action, arn("cloudformation", f"stack/{name}/its-id"))
        case _:
            yield Call(action)


def s3_calls(request: Request) -> Iterator[Call]:
    bucket, _, key = request.path.lstrip("/").partition("/")
    source = request.headers.get("x-amz-copy-source")
    if source:
        path, _, version = source.lstrip("/").partition("?")
        yield Call(f"s3:GetObject{'Version' if version else ''}", f"arn:aws:s3:::{path}")
    if key:
        version = request.method != "PUT" and "versionId=" in request.query
        action = f"{OF_OBJECTS[request.method]}{'Version' if version else ''}"
        yield Call(f"s3:{action}", f"arn:aws:s3:::{bucket}/{key}")
    else:
        part = request.query.partition("&")[0].partition("=")[0]
        yield Call(f"s3:{OF_BUCKETS.get(part, 'ListBucket')}", f"arn:aws:s3:::{bucket}")


def signing_service(request: Request) -> str:
    """Return the service that a request is signed for: Credential=KEY/DATE/REGION/SERVICE/..."""
    return request.headers["authorization"].split("Credential=")[1].split("/")[3]


def operation_of(request: Request) -> tuple[str, Mapping[str, Any]]:
    """Return the permission that a request needs, and its arguments."""
    match request.path.split("/"):
        case ["", _, "functions", name, "invocations"]:
            return "InvokeFunction", {"FunctionName": unquote(name)}
    target = request.headers.get("x-amz-target")
    if target:
        operation, arguments = target.rpartition(".")[2], json.loads(request.body)
    else:
        arguments = {name: each[0] for name, each in parse_qs(request.body.decode()).items()}
        operation = arguments.get("Action", request.path)
    return COVERED_BY.get(operation, operation), arguments


# --- the server ---------------------------------------------------------------------------------


class EnforcedRole(ForwardingServer):
    """Forwards what a role may do, and responds as AWS does to what it may not.

    Attributes
    ----------
    used : set of str
        Actions that were allowed.
    denied : list of Call
        Calls that were not.
    """

    def __init__(self, behind: str, statements: list[Statement]) -> None:
        super().__init__(behind)
        self.statements = statements
        self.used: set[str] = set()
        self.denied: list[Call] = []

    def client(self, service: str) -> Any:
        """Return a client of boto3 that acts in this role."""
        return local_client(service, self.url)

    def respond(self, request: Request) -> Response | None:
        for call in calls_of(request):
            if not is_allowed(call, self.statements):
                self.denied.append(call)
                return access_denied(request, call)
            self.used.add(call.action)
        response = self.forward(request)
        if response.status == 404 and signing_service(request) == "s3":
            # S3 says that an object is missing to those who may list the bucket
            listing = Call("s3:ListBucket", f"arn:aws:s3:::{request.path.split('/')[1]}")
            if not is_allowed(listing, self.statements):
                return access_denied(request, listing)
            self.used.add(listing.action)
        return response


def access_denied(request: Request, call: Call) -> Response:
    message = f"not authorized to perform: {call.action} on resource: {call.resource}"
    if "x-amz-target" in request.headers:
        error = {"__type": "AccessDeniedException", "message": message}
        return Response(
            400, {"content-type": "application/x-amz-json-1.0"}, json.dumps(error).encode()
        )
    code = "AccessDenied" if signing_service(request) == "s3" else "AuthorizationError"
    error_xml = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    if signing_service(request) != "s3":
        error_xml = f"<ErrorResponse>{error_xml}</ErrorResponse>"
    body = b"" if request.method == "HEAD" else error_xml.encode()
    return Response(403, {"content-type": "application/xml"}, body)

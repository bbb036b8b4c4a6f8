"""Reading `template.yaml`: YAML with CloudFormation's short forms written out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]


class TemplateLoader(yaml.SafeLoader):
    """Turns `!Ref x` into {"Ref": x}, `!Sub x` into {"Fn::Sub": x}, and so on."""


def intrinsic(loader: TemplateLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in {"Ref", "Condition"} else f"Fn::{tag}"
    if isinstance(node, yaml.ScalarNode):
        return {name: loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    return {name: loader.construct_mapping(node, deep=True)}


TemplateLoader.add_multi_constructor("!", intrinsic)

TEMPLATE: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), TemplateLoader)
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    """Return the properties of all resources of a type, by logical name."""
    return {
        name: resource.get("Properties", {})
        for name, resource in RESOURCES.items()
        if resource["Type"] == kind
    }


FUNCTIONS = of_type("AWS::Serverless::Function")
BUCKETS = of_type("AWS::S3::Bucket")
QUEUES = of_type("AWS::SQS::Queue")
TOPICS = of_type("AWS::SNS::Topic")
ALARMS = of_type("AWS::CloudWatch::Alarm")


def package(function: str) -> Path:
    """Return the folder of a function's handler."""
    properties = FUNCTIONS[function]
    return (ROOT / properties["CodeUri"]).joinpath(*properties["Handler"].split(".")[:-2])


def statements(function: str) -> list[dict[str, Any]]:
    """Return what a function's role may do."""
    return [
        each for policy in FUNCTIONS[function].get("Policies", []) for each in policy["Statement"]
    ]


def events(*kinds: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield function, name and properties of each of SAM's events of these kinds."""
    for function, properties in FUNCTIONS.items():
        for name, event in properties.get("Events", {}).items():
            if event["Type"] in kinds:
                yield function, name, event["Properties"]


def dead_letter_queues() -> set[str]:
    """Return the queues that other queues move their messages to when all else failed."""
    redrives = [queue["RedrivePolicy"] for queue in QUEUES.values() if "RedrivePolicy" in queue]
    return {redrive["deadLetterTargetArn"]["Fn::GetAtt"].split(".")[0] for redrive in redrives}


def as_list(value: Any) -> list[Any]:
    """Return what IAM lets one write without a list."""
    return value if isinstance(value, list) else [value]

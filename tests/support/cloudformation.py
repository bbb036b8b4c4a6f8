"""The stack: `template.yaml` as written, and as SAM turns it into CloudFormation."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import yaml
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

# whose warnings are about toggles of its own
logging.getLogger("samtranslator.feature_toggle.feature_toggle").setLevel(logging.ERROR)

ROOT = Path(__file__).parents[2]

Resources = dict[str, dict[str, Any]]


# --- as written ---------------------------------------------------------------------------------


class TemplateLoader(yaml.SafeLoader):
    """Turns `!Ref x` into {"Ref": x}, `!GetAtt x.y` into {"Fn::GetAtt": [x, y]}, and so on."""


def intrinsic(loader: TemplateLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    name = tag if tag in {"Ref", "Condition"} else f"Fn::{tag}"
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    if isinstance(node, yaml.MappingNode):
        return {name: loader.construct_mapping(node, deep=True)}
    value = loader.construct_scalar(node)
    return {name: value.split(".", 1) if tag == "GetAtt" else value}


TemplateLoader.add_multi_constructor("!", intrinsic)

TEMPLATE: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), TemplateLoader)
RESOURCES: Resources = TEMPLATE["Resources"]


def of_type(kind: str, resources: Resources = RESOURCES) -> Resources:
    """Return the properties of all resources of a type, by logical name."""
    return {
        name: resource.get("Properties", {})
        for name, resource in resources.items()
        if resource["Type"] == kind
    }


FUNCTIONS = of_type("AWS::Serverless::Function")
BUCKETS = of_type("AWS::S3::Bucket")
QUEUES = of_type("AWS::SQS::Queue")
TOPICS = of_type("AWS::SNS::Topic")
ALARMS = of_type("AWS::CloudWatch::Alarm")


def source_root(function: str) -> Path:
    """Return where a function's imports begin: its code, or the folder above where that is one."""
    code = ROOT / FUNCTIONS[function]["CodeUri"]
    return code.parent if FUNCTIONS[function]["Handler"].startswith(f"{code.name}.") else code


def package(function: str) -> Path:
    """Return the folder of a function's handler."""
    return source_root(function).joinpath(*FUNCTIONS[function]["Handler"].split(".")[:-2])


def dead_letter_queues() -> set[str]:
    """Return the queues that other queues move their messages to when all else failed."""
    redrives = [queue["RedrivePolicy"] for queue in QUEUES.values() if "RedrivePolicy" in queue]
    return {redrive["deadLetterTargetArn"]["Fn::GetAtt"][0] for redrive in redrives}


def as_list(value: Any) -> list[Any]:
    """Return what CloudFormation and IAM let one write without a list."""
    return value if isinstance(value, list) else [value]


# --- as deployed --------------------------------------------------------------------------------


@cache
def transform(**parameters: str) -> dict[str, Any]:
    """Return the template that CloudFormation gets from SAM.

    Parameters
    ----------
    parameters
        Of the template, where they are not to have their defaults. SAM knows their values, and
        leaves parameters and conditions in for CloudFormation: see `deployed`.
    """
    template = copy.deepcopy(TEMPLATE)
    for function in of_type("AWS::Serverless::Function", template["Resources"]).values():
        function["CodeUri"] = "s3://packages/functions.zip"  # `sam deploy` uploads it first
    sam = Translator({}, Parser(), boto_session=boto3.Session(region_name="us-east-1"))
    return sam.translate(template, dict(parameters), get_managed_policy_map=dict)


TRANSFORMED = transform()


@cache
def deployed(**parameters: str) -> Resources:
    """Return the resources that a stack with these parameters has.

    Conditions, mappings and references to parameters are evaluated, and a `Fn::Sub` has no
    variables of its own any more; what CloudFormation learns from AWS stays as it is written.
    """
    template = transform(**parameters)
    evaluate = Evaluation(template, parameters)
    return {
        name: evaluate.value(resource)
        for name, resource in template["Resources"].items()
        if "Condition" not in resource or evaluate.condition(resource["Condition"])
    }


NO_VALUE = {"Ref": "AWS::NoValue"}


class Evaluation:
    """What CloudFormation evaluates before it creates anything.

    Parameters
    ----------
    template
        Conditions, mappings, parameters and their defaults.
    parameters
        Values of parameters that are not to have their defaults.
    """

    def __init__(self, template: dict[str, Any], parameters: dict[str, str]) -> None:
        self._conditions = template.get("Conditions", {})
        self._mappings = template.get("Mappings", {})
        defaults = {name: each["Default"] for name, each in template["Parameters"].items()}
        self._parameters = {name: str(value) for name, value in (defaults | parameters).items()}

    def condition(self, name: str) -> bool:
        """Return whether a condition holds."""
        return self._holds(self._conditions[name])

    def _holds(self, condition: Any) -> bool:
        [(function, arguments)] = condition.items()
        match function:
            case "Condition":
                return self.condition(arguments)
            case "Fn::Not":
                return not self._holds(arguments[0])
            case "Fn::And":
                return all(map(self._holds, arguments))
            case "Fn::Or":
                return any(map(self._holds, arguments))
            case "Fn::Equals":
                first, second = map(self.value, arguments)
                return bool(first == second)
        raise ValueError(f"{function} is not a condition")

    def value(self, value: Any) -> Any:
        """Return a value with all that can be known evaluated."""
        functions = {
            "Fn::If": self._if,
            "Fn::FindInMap": self._find_in_map,
            "Fn::Sub": self._sub,
            "Fn::Split": self._split,
        }
        match value:
            case {"Ref": str(name)} if name in self._parameters:
                return self._parameters[name]
            case dict() if len(value) == 1 and set(value) <= functions.keys():
                [(name, arguments)] = value.items()
                return functions[name](arguments)
            case dict():
                pairs = ((key, self.value(each)) for key, each in value.items())
                return {key: each for key, each in pairs if each != NO_VALUE}
            case list():
                return [each for each in map(self.value, value) if each != NO_VALUE]
        return value

    def _if(self, arguments: list[Any]) -> Any:
        name, then, otherwise = arguments
        return self.value(then if self.condition(name) else otherwise)

    def _find_in_map(self, arguments: list[Any]) -> Any:
        name, first, second = arguments
        return self._mappings[name][self.value(first)][self.value(second)]

    def _sub(self, arguments: Any) -> Any:
        text, variables = arguments if isinstance(arguments, list) else (arguments, {})
        return self._substitute(text, self.value(variables))

    def _split(self, arguments: list[Any]) -> list[Any]:
        separator, text = arguments[0], self.value(arguments[1])
        parts = (text["Fn::Sub"] if isinstance(text, dict) else text).split(separator)
        return [self._substitute(part, {}) for part in parts]

    def _substitute(self, text: str, variables: dict[str, Any]) -> Any:
        values = self._parameters | variables

        def fill(name: re.Match[str]) -> str:
            match values.get(name[1]):
                case None:
                    return name[0]
                case {"Ref": other}:
                    return f"${{{other}}}"
                case {"Fn::GetAtt": [other, attribute]}:
                    return f"${{{other}.{attribute}}}"
                case {"Fn::Sub": other}:
                    return str(other)
                case value:
                    return str(value)

        filled = re.sub(r"\$\{([^!}]+)\}", fill, text)
        return {"Fn::Sub": filled} if "${" in filled else filled


# --- what waits for what ------------------------------------------------------------------------


def references(value: Any) -> Iterator[str]:
    """Yield the logical names that a value mentions in Ref, GetAtt and Sub."""
    match value:
        case {"Ref": str(name)}:
            yield name
        case {"Fn::GetAtt": [name, *_]}:
            yield name
        case {"Fn::Sub": str(text)}:
            yield from placeholders(text)
        case {"Fn::Sub": [text, variables]}:
            yield from set(placeholders(text)) - set(variables)
            yield from references(variables)
        case dict():
            for each in value.values():
                yield from references(each)
        case list():
            for each in value:
                yield from references(each)


def placeholders(text: str) -> Iterator[str]:
    """Yield the names in ${name} and ${name.attribute} of a Sub's text."""
    for part in text.split("${")[1:]:
        name = part.split("}")[0]
        if not name.startswith("!"):
            yield name.split(".")[0]


def dependencies(resources: Resources) -> dict[str, set[str]]:
    """Return, for each resource, those that CloudFormation creates before it."""
    return {
        name: {*as_list(resource.get("DependsOn", [])), *references(resource)} & resources.keys()
        for name, resource in resources.items()
    }


def all_dependencies(name: str, resources: Resources) -> set[str]:
    """Return what a resource waits for, by however many steps; itself only where it is a cycle."""
    graph, found, left = dependencies(resources), set[str](), [name]
    while left:
        new = graph[left.pop()] - found
        found |= new
        left += new
    return found


# --- what roles may do --------------------------------------------------------------------------


def statements(function: str, **parameters: str) -> list[dict[str, Any]]:
    """Return what a deployed function's role may do, managed policies left out."""
    resources = deployed(**parameters)
    [role, _] = resources[function]["Properties"]["Role"]["Fn::GetAtt"]
    policies = resources[role]["Properties"].get("Policies", [])
    return [each for policy in policies for each in policy["PolicyDocument"]["Statement"]]

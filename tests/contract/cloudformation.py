"""Reading `template.yaml`: YAML with CloudFormation's short forms written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


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


def load(path: Path) -> dict[str, Any]:
    return yaml.load(path.read_text(), TemplateLoader)

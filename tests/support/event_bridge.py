"""A rule of EventBridge, as far as its documentation says what it does: pattern and transformer."""

from __future__ import annotations

import json
import re
from typing import Any

PATH = r"\$(\.[A-Za-z0-9_-]+)+"
MAX_TEMPLATE = 8_192
PLACEHOLDER = r"<([A-Za-z0-9_-]+)>"


def matches(pattern: dict[str, Any], event: dict[str, Any]) -> bool:
    """Return whether an event matches a pattern of plain values."""
    return all(
        matches(wanted, event.get(name) or {})
        if isinstance(wanted, dict)
        else event.get(name) in wanted
        for name, wanted in pattern.items()
    )


def transformed(transformer: dict[str, Any], event: dict[str, Any]) -> Any:
    """Return what a target gets of an event, as JSON.

    A placeholder that stands for a whole value becomes the value as JSON. Within quotation marks
    the documentation is at odds with itself: values are escaped, and they are not. A path that is
    not there leaves nothing, which is no JSON any more. Both are errors here.

    Raises
    ------
    ValueError
        If it is anything but JSON for certain.
    """
    template, paths = transformer["InputTemplate"], transformer["InputPathsMap"]
    if len(template) > MAX_TEMPLATE:
        raise ValueError("the template is too long")
    for text in re.findall(r'"(?:[^"\\]|\\.)*"', template):
        if re.search(PLACEHOLDER, text):
            raise ValueError(f"a placeholder within quotation marks: {text}")
    used = set(re.findall(PLACEHOLDER, template))
    if used != set(paths):
        raise ValueError(f"used are {sorted(used)}, and defined are {sorted(paths)}")
    values = {name: _found(path, event) for name, path in paths.items()}
    return json.loads(re.sub(PLACEHOLDER, lambda found: values[found[1]], template))


def _found(path: str, event: dict[str, Any]) -> str:
    if not re.fullmatch(PATH, path):
        raise ValueError(f"a path that not every document says is supported: {path}")
    value: Any = event
    for name in path.split(".")[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    if value is None:
        raise ValueError(f"{path} is not there")
    return json.dumps(value)

"""A watch file as people write it: YAML, faults by their line, and a schema for editors."""

from __future__ import annotations

import inspect
import re
from collections.abc import Hashable, Iterator
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec
import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ops_anomaly.validation import Fault
from ops_anomaly.watcher import watch_file
from ops_anomaly.watcher.watch_file import WatchFile, parse_watch_file, watch_file_faults
from training import SourceError

MAX_FAULTS = 10
"""Faults that are listed; the others are counted."""

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def read_watch_file(path: Path) -> WatchFile:
    """Read a watch file written in YAML.

    Raises
    ------
    SourceError
        Naming all that is wrong, with the lines.
    """
    try:
        tree, content = _load(path)
        wrong = watch_file_faults(content)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise SourceError(f"{path} can't be read: {error}") from error
    if wrong:
        located = [(_line(tree, fault.location), _in_words(fault, content)) for fault in wrong]
        located.sort(key=itemgetter(0))
        lines = [f"line {line}: {text}" for line, text in located[:MAX_FAULTS]]
        if len(located) > MAX_FAULTS:
            lines.append(f"and {len(located) - MAX_FAULTS} more")
        raise SourceError("\n".join([f"{path} is not a valid watch file:", *lines]))
    return parse_watch_file(content)


def _in_words(fault: Fault, content: Any) -> str:
    """Return a fault with the name of its entry, as positions in a long file are hard to count."""
    if not fault.location:
        return fault.message
    match fault.location:
        case (str(kind), int(number), *inside):
            part = content[kind][number]
            name = part.get("name") if isinstance(part, dict) else None
            if isinstance(name, str):
                path = Fault(tuple(inside), "").path
                return f"{path or 'entry'} of {name}: {fault.message}"
    return f"{fault.path}: {fault.message}"


class _Loader(yaml.SafeLoader):
    """YAML 1.2 as editors read it, in which a key stands once.

    PyYAML reads 1.1 by default, where `22:00` is 1,320, `no` is false and a date is no text.
    """

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key, _ in node.value:  # before keys of `<<` are among them, which may be replaced
            line = key.start_mark.line + 1
            if key.value in lines:
                problem = f"key {key.value!r} stands twice, at lines {lines[key.value]} and {line}"
                raise ConstructorError(None, None, problem)
            if isinstance(key, ScalarNode):
                lines[key.value] = line
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first)
    )


def _load(path: Path) -> tuple[Node | None, Any]:
    """Return the nodes of a YAML document, which know their lines, and what it says."""
    loader = _Loader(path.read_text(encoding="utf-8"))
    loader.name = path.name  # errors quote it
    try:
        node = loader.get_single_node()
        return node, None if node is None else loader.construct_document(node)
    finally:
        loader.dispose()


def _line(node: Node | None, location: tuple[str | int, ...]) -> int:
    """Return the line of what a fault is about, or of the part in which it is missing."""
    line = 1
    for step in location:
        found = None
        if isinstance(node, MappingNode):
            # the last one: what `<<` brings along comes before the keys that replace it
            pairs = reversed(node.value)
            found = next((pair for pair in pairs if pair[0].value == str(step)), None)
        elif isinstance(node, SequenceNode) and isinstance(step, int):
            found = (node.value[step], node.value[step])
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def watch_schema() -> dict[str, Any]:
    """Return the JSON schema of watch files, by which editors complete and check them.

    What it says of structs and fields is what their docstrings say.
    """
    written = msgspec.json.schema(watch_file.WrittenWatchFile)
    definitions = {name: _described(name, schema) for name, schema in written["$defs"].items()}
    root = definitions.pop(watch_file.WrittenWatchFile.__name__)
    schema = {"$schema": SCHEMA_DIALECT} | root | {"title": "Watch file", "$defs": definitions}
    for_javascript = re.sub(rb'\$?\\\\Z"', b'$"', msgspec.json.encode(schema))
    return msgspec.json.decode(for_javascript, type=dict[str, Any])


def _described(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a struct with the descriptions of its docstring."""
    kind = vars(watch_file)[name]
    descriptions = dict(chain.from_iterable(map(_documented, reversed(kind.__mro__))))
    return schema | {
        "description": " ".join(_paragraphs(kind)[0].split()),
        "properties": {
            field: properties | {"description": descriptions[field]}
            for field, properties in schema["properties"].items()
        },
    }


def _paragraphs(kind: type) -> list[str]:
    """Return what a class is about, and its section of attributes if there is one."""
    return re.split(r"\n\nAttributes\n-+\n", inspect.cleandoc(kind.__doc__ or ""))


def _documented(kind: type) -> Iterator[tuple[str, str]]:
    """Yield names and descriptions of the attributes in the docstring of a class."""
    for attributes in _paragraphs(kind)[1:]:
        for name, text in re.findall(r"^(\w+) : .+\n((?:    .+\n?)+)", attributes, re.MULTILINE):
            yield name, " ".join(text.split())

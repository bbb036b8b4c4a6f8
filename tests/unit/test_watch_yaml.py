"""A watch file in YAML: faults have lines, and the schema for editors is that of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from training import SourceError
from training.watch_yaml import read_watch_file, watch_schema

ROOT = Path(__file__).resolve().parents[2]
METRIC = "metric: shop Orders Stage=live Sum 300"


@pytest.fixture
def fault(tmp_path: Path) -> Any:
    """Return what is said of a text, without the first words, which name the file."""

    def of(text: str) -> str:
        path = tmp_path / "watch.yaml"
        path.write_text(text)
        with pytest.raises(SourceError) as caught:
            read_watch_file(path)
        assert str(caught.value).startswith(str(path))
        return str(caught.value).removeprefix(str(path)).strip()

    return of


def test_every_fault_has_its_line_in_order(fault) -> None:
    text = f"""
version: 1
metrics:
  - name: orders
    {METRIC}
    sensitivity: 0
  - {METRIC}
    alert_on: raises
    mute:
      - days: [sat]
        from: 22:00
selectors:
  - name: cpu
    namespace: AWS/EC2
    statistics: Sum
"""
    first, *lines = fault(text).splitlines()
    assert first == "is not a valid watch file:"
    assert [line.partition(": ")[0::2] for line in lines] == [
        ("line 6", "sensitivity of orders: Expected `float` > 0.0"),
        ("line 7", "metrics.1.name: Field required"),
        (
            "line 8",
            "metrics.1.alert_on: Invalid enum value 'raises': it is one of both, rises, falls",
        ),
        ("line 10", "metrics.1.mute.0: give from and to, or cron and for"),
        ("line 13", "metric of cpu: Field required"),
        ("line 13", "dimensions of cpu: Field required"),
        ("line 13", "statistic of cpu: Field required"),
        ("line 13", "period of cpu: Field required"),
        ("line 15", "statistics of cpu: Unknown field"),
    ]


def test_of_many_faults_the_first_ten_are_listed_in_the_order_of_the_file(fault) -> None:
    entries = "".join(f"  - {{{METRIC}, name: a{n}, sensitivity: 0}}\n" for n in range(30))
    lines = fault(f"version: 1\nmetrics:\n{entries}").splitlines()[1:]
    assert [line.partition(":")[0] for line in lines] == [
        *(f"line {number}" for number in range(3, 13)),
        "and 20 more",
    ]


def test_a_fault_of_the_whole_is_at_its_first_line(fault) -> None:
    assert fault("version: 1\n").splitlines()[1] == (
        "line 1: nothing to watch: add metrics or selectors"
    )
    assert "line 1: Expected `object`, got `str`" in fault("just words")
    assert "line 1: Expected `object`, got `null`" in fault("")


def test_a_key_that_stands_twice_is_an_error_with_both_lines(fault) -> None:
    block = f"metrics:\n  - {{name: a, {METRIC}}}\n"
    said = fault(f"version: 1\n{block}{block}")
    assert said == "can't be read: key 'metrics' stands twice, at lines 2 and 4"
    assert "key 'name' stands twice, at lines 3 and 3" in fault(
        f"version: 1\nmetrics:\n  - {{name: a, name: b, {METRIC}}}\n"
    )


def test_what_is_not_yaml_is_named_with_file_and_line(fault) -> None:
    assert 'in "watch.yaml", line 2' in fault("version: 1\nmetrics: [")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere\.yaml can't be read: .*No such file"):
        read_watch_file(tmp_path / "nowhere.yaml")


def read(path: Path, text: str) -> Any:
    path.write_text(text)
    return read_watch_file(path)


def test_keys_of_an_anchor_may_be_replaced_and_faults_in_them_have_lines(
    tmp_path: Path, fault
) -> None:
    text = f"""
version: 1
metrics:
  - &first
    name: first
    {METRIC}
    owner: operations
  - <<: *first
    name: second
    owner: OWNER
"""
    [_, second] = read(tmp_path / "watch.yaml", text).metrics
    assert (second.name, second.owner, second.period) == ("second", "OWNER", 300)
    assert "line 10: owner of second" in fault(text.replace("OWNER", "1"))


def test_times_and_words_are_read_as_editors_read_them(tmp_path: Path) -> None:
    """As YAML 1.1, 22:00 is the number 1320, 2026-12-24T18:00:00 a date, and no is false."""
    text = f"""
version: 1
defaults:
  tags: {{country: no, on: yes, build: 0x1f}}
  mute:
    - {{from: 22:00, to: 06:00}}
    - {{from: 2026-12-24T18:00:00, to: 2026-12-26 06:00:00}}
metrics:
  - name: orders
    {METRIC}
    ignore_below: {{absolute: 1e3}}
    model: ~
"""
    [orders] = read(tmp_path / "watch.yaml", text).metrics
    assert orders.tags == {"country": "no", "on": "yes", "build": "0x1f"}
    assert [(mute.from_, mute.to) for mute in orders.mute] == [
        ("22:00", "06:00"),
        ("2026-12-24T18:00:00", "2026-12-26 06:00:00"),
    ]
    assert orders.ignore_below.absolute == 1_000


def test_the_committed_schema_is_that_of_the_code() -> None:
    committed = json.loads((ROOT / "docs/watch.schema.json").read_text())
    assert committed == watch_schema(), "run: make schema"


def test_every_field_of_the_schema_has_a_description() -> None:
    schema = watch_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in [schema, *schema["$defs"].values()]:
        for name, field in part["properties"].items():
            assert field["description"].endswith((".", "SECONDS")), name
    assert schema["$defs"]["ExactEntry"]["properties"]["owner"]["description"] == (
        "Who is responsible; in every message and event."
    )


DOCS = (ROOT / "docs/watcher.md").read_text()


def test_the_documentation_has_every_field() -> None:
    section = DOCS[DOCS.index("## Watch file") : DOCS.index("## Incidents")]
    for kind in watch_schema()["$defs"].values():
        assert [name for name in kind["properties"] if f"`{name}" not in section] == []


def test_the_documentation_s_example_is_a_valid_watch_file(tmp_path: Path) -> None:
    [example] = re.findall(
        r"^```yaml\n(# yaml-language-server.*?)^```", DOCS, re.DOTALL | re.MULTILINE
    )
    orders, errors = read(tmp_path / "watch.yaml", example).entries
    assert (orders.owner, orders.fills_zeros, errors.ignore_below.absolute) == (
        "operations",
        True,
        5,
    )
    assert [mute.reason for mute in orders.mute] == ["maintenance"]


EXAMPLE = (ROOT / "watch.yaml").read_text()


def test_the_example_names_the_schema_for_editors_and_conforms_to_it() -> None:
    first, _, _ = EXAMPLE.partition("\n")
    assert first.startswith("# yaml-language-server: $schema=")
    assert (ROOT / first.partition("=")[2]).resolve() == ROOT / "docs/watch.schema.json"
    jsonschema.validate(yaml.safe_load(EXAMPLE), watch_schema())
    read_watch_file(ROOT / "watch.yaml")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("alert_on", "up"),
        ("sustained", 0),
        ("when_silent", "notify after 30"),
        ("owners", "a"),
        ("mute", [{"days": ["Saturday"], "from": "22:00", "to": "06:00"}]),
        ("name", "Orders"),
    ],
)
def test_the_schema_refuses_what_the_command_refuses(field: str, value: object) -> None:
    content = yaml.safe_load(EXAMPLE)
    content["metrics"][0][field] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, watch_schema())

"""Contracts: every fault is reported with its location, lazily."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from ops_anomaly.validation import MISSING, UNKNOWN, Contract, Fault, faults

Share = Annotated[float, Meta(ge=0, le=1)]
Label = Annotated[str, Meta(pattern=r"^[a-z]+\Z")]


class Part(Contract, frozen=True):
    """An item of a whole."""

    share: Share
    unit: str | None = None


class Loose(msgspec.Struct, frozen=True):
    """Unknown fields are allowed."""

    count: int


class Whole(Contract, frozen=True):
    """A field of each kind."""

    parts: Annotated[list[Part], Meta(min_length=1, max_length=3)]
    labels: Annotated[dict[Label, int], Meta(max_length=2)] = msgspec.field(default_factory=dict)
    best: Part | None = None
    bounds: Annotated[list[Share], Meta(max_length=2)] | None = None
    loose: Loose | None = None
    also: dict[str, list[Part]] = msgspec.field(default_factory=dict)
    short: int = msgspec.field(default=0, name="shortName")

    def __post_init__(self) -> None:
        if sum(part.share for part in self.parts) > 1:
            raise ValueError("the shares add up to more than 1")


PARTS: list[Any] = [{"share": 0.5}]


def messages(data: Any, contract: Any = Whole) -> list[tuple[str, str]]:
    return [(fault.path, fault.message) for fault in faults(data, contract)]


def test_data_that_conforms_has_no_faults() -> None:
    best = {"share": 1, "unit": None}
    more = {"labels": {"a": 1}, "best": best, "bounds": [0, 1.0], "loose": {"count": 1, "more": 2}}
    assert messages({"parts": PARTS}) == []
    assert messages({"parts": PARTS, "also": {"any": PARTS}, "shortName": 1} | more) == []


@pytest.mark.parametrize(
    ("change", "path", "message"),
    [
        ({"parts": [{}]}, "parts.0.share", MISSING),
        ({"parts": [*PARTS, {"share": 0, "size": 1}]}, "parts.1.size", UNKNOWN),
        ({"part": []}, "part", UNKNOWN),
        ({"short": 1}, "short", UNKNOWN),
        ({7: 1}, "7", UNKNOWN),
        ({"shortName": "1"}, "shortName", "Expected `int`, got `str`"),
        ({"shortName": True}, "shortName", "Expected `int`, got `bool`"),
        ({"shortName": 1.0}, "shortName", "Expected `int`, got `float`"),
        ({"parts": None}, "parts", "Expected `array`, got `null`"),
        ({"parts": {}}, "parts", "Expected `array`, got `object`"),
        ({"parts": []}, "parts", "Expected `array` of length >= 1"),
        ({"parts": [{"share": 0}] * 4}, "parts", "Expected `array` of length <= 3"),
        ({"parts": [7]}, "parts.0", "Expected `object`, got `int`"),
        ({"parts": [{"share": "1"}]}, "parts.0.share", "Expected `float`, got `str`"),
        ({"parts": [{"share": 1.5}]}, "parts.0.share", "Expected `float` <= 1.0"),
        ({"parts": [{"share": float("nan")}]}, "parts.0.share", "Expected `float` >= 0.0"),
        ({"parts": [{"share": 10**400}]}, "parts.0.share", "Number out of range"),
        ({"parts": [{"share": 0, "unit": 7}]}, "parts.0.unit", "Expected `str | null`, got `int`"),
        ({"best": 7}, "best", "Expected `object | null`, got `int`"),
        ({"best": {"share": -1}}, "best.share", "Expected `float` >= 0.0"),
        ({"best": {"share": 1, "x": 1}}, "best.x", UNKNOWN),
        ({"bounds": [0, None]}, "bounds.1", "Expected `float`, got `null`"),
        ({"bounds": [0, 0, 0]}, "bounds", "Expected `array` of length <= 2"),
        ({"labels": []}, "labels", "Expected `object`, got `array`"),
        ({"labels": {"a": "1"}}, "labels.a", "Expected `int`, got `str`"),
        ({"labels": dict.fromkeys("abc", 1)}, "labels", "Expected `object` of length <= 2"),
        ({"labels": {7: 1}}, "labels.7", "Invalid name: Expected `str`, got `int`"),
        ({"loose": {"more": 1}}, "loose.count", MISSING),
        ({"also": {"any": [{"share": 2}]}}, "also.any.0.share", "Expected `float` <= 1.0"),
        ({"parts": PARTS * 3}, "", "the shares add up to more than 1"),
    ],
)
def test_a_fault_has_a_location_and_a_message(
    change: dict[Any, Any], path: str, message: str
) -> None:
    assert messages({"parts": PARTS} | change) == [(path, message)]


@pytest.mark.parametrize("data", [None, [], "parts", 7, float("nan")])
def test_a_fault_of_the_whole_has_an_empty_location(data: Any) -> None:
    [(path, message)] = messages(data)
    assert path == ""
    assert message.startswith("Expected `object`, got ")


@pytest.mark.parametrize("name", ["A", "a\n", ""])
def test_a_fault_of_a_name_says_so(name: str) -> None:
    [(path, message)] = messages({"parts": PARTS, "labels": {"a": 1, name: 1}})
    assert path == f"labels.{name}"
    assert message.startswith("Invalid name: Expected `str` matching regex")


def test_faults_come_in_the_order_of_the_fields() -> None:
    data = {
        "more": 1,
        "best": {"unit": 7},
        "labels": {"A": "1"},
        "parts": [{"share": 2, "size": 1}, 7, {"share": 0}],
    }
    assert [path for path, _ in messages(data)] == [
        *("parts.0.share", "parts.0.size", "parts.1"),
        *("labels.A", "labels.A", "best.share", "best.unit", "more"),
    ]


def test_the_whole_is_checked_only_if_its_parts_conform() -> None:
    data = {"parts": PARTS * 3, "shortName": "1"}
    assert [path for path, _ in messages(data)] == ["shortName"]


def test_a_location_starts_where_the_data_was_found() -> None:
    [fault] = faults({"parts": [{}]}, Whole, ("body",))
    assert fault == Fault(("body", "parts", 0, "share"), MISSING)


def test_no_more_is_checked_than_is_consumed(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[Any] = []
    convert = msgspec.convert

    def counting(data: Any, kind: Any, **more: Any) -> Any:
        checked.append(data)
        return convert(data, kind, **more)

    monkeypatch.setattr(msgspec, "convert", counting)
    found: Iterator[Fault] = faults([{"share": 2}] * 10_000, list[Part])
    assert checked == []
    paths = [fault.path for fault in islice(found, 20)]
    assert paths == [f"{number}.share" for number in range(20)]
    assert len(checked) == 1 + 2 * 20  # the list; of each item that is wrong, itself and its field


Example = Annotated[float, Meta(ge=0, examples=[0.5])]


@pytest.mark.parametrize("contract", [Example, Example | None, Annotated[Example | None, Meta()]])
def test_a_message_ends_with_the_example(contract: Any) -> None:
    [(_, message)] = messages("x", contract)
    assert message.endswith(", such as 0.5")


def test_half_of_a_surrogate_pair_is_a_fault() -> None:
    assert [path for path, _ in messages({"parts": PARTS, "labels": {"a": "\ud800"}})] == [
        "labels.a"
    ]
    assert messages({"parts": PARTS, "\ud800": 1}) == [("\ud800", UNKNOWN)]

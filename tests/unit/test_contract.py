"""Contracts: all that is wrong is told with its place, and no sooner than it is asked for."""

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
    """What a whole consists of."""

    share: Share
    unit: str | None = None


class Loose(msgspec.Struct, frozen=True):
    """What may have more fields than are known."""

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
            raise ValueError("the shares are more than all")


PARTS: list[Any] = [{"share": 0.5}]


def told(data: Any, contract: Any = Whole) -> list[tuple[str, str]]:
    return [(fault.path, fault.message) for fault in faults(data, contract)]


def test_nothing_is_wrong_with_what_is_as_it_should_be() -> None:
    best = {"share": 1, "unit": None}
    more = {"labels": {"a": 1}, "best": best, "bounds": [0, 1.0], "loose": {"count": 1, "more": 2}}
    assert told({"parts": PARTS}) == []
    assert told({"parts": PARTS, "also": {"any": PARTS}, "shortName": 1} | more) == []


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
        ({"labels": {7: 1}}, "labels.7", "The name itself: Expected `str`, got `int`"),
        ({"loose": {"more": 1}}, "loose.count", MISSING),
        ({"also": {"any": [{"share": 2}]}}, "also.any.0.share", "Expected `float` <= 1.0"),
        ({"parts": PARTS * 3}, "", "the shares are more than all"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    change: dict[Any, Any], path: str, message: str
) -> None:
    assert told({"parts": PARTS} | change) == [(path, message)]


@pytest.mark.parametrize("data", [None, [], "parts", 7, float("nan")])
def test_what_is_no_object_at_all_is_told_without_a_place(data: Any) -> None:
    [(path, message)] = told(data)
    assert path == ""
    assert message.startswith("Expected `object`, got ")


@pytest.mark.parametrize("name", ["A", "a\n", ""])
def test_of_a_name_that_is_wrong_it_is_said_that_it_is_the_name(name: str) -> None:
    [(path, message)] = told({"parts": PARTS, "labels": {"a": 1, name: 1}})
    assert path == f"labels.{name}"
    assert message.startswith("The name itself: Expected `str` matching regex")


def test_everything_that_is_wrong_is_told_in_the_order_of_the_fields() -> None:
    data = {
        "more": 1,
        "best": {"unit": 7},
        "labels": {"A": "1"},
        "parts": [{"share": 2, "size": 1}, 7, {"share": 0}],
    }
    assert [path for path, _ in told(data)] == [
        *("parts.0.share", "parts.0.size", "parts.1"),
        *("labels.A", "labels.A", "best.share", "best.unit", "more"),
    ]


def test_the_whole_is_checked_only_where_its_parts_are_right() -> None:
    data = {"parts": PARTS * 3, "shortName": "1"}
    assert [path for path, _ in told(data)] == ["shortName"]


def test_a_place_goes_on_from_where_the_data_was_found() -> None:
    [fault] = faults({"parts": [{}]}, Whole, ("body",))
    assert fault == Fault(("body", "parts", 0, "share"), MISSING)


def test_no_more_is_looked_at_than_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Any] = []
    convert = msgspec.convert

    def counting(data: Any, kind: Any) -> Any:
        looked.append(data)
        return convert(data, kind)

    monkeypatch.setattr(msgspec, "convert", counting)
    found: Iterator[Fault] = faults([{"share": 2}] * 10_000, list[Part])
    assert looked == []
    paths = [fault.path for fault in islice(found, 20)]
    assert paths == [f"{number}.share" for number in range(20)]
    assert len(looked) == 1 + 2 * 20  # the list; of each item that is wrong, itself and its field


Example = Annotated[float, Meta(ge=0, examples=[0.5])]


@pytest.mark.parametrize("contract", [Example, Example | None, Annotated[Example | None, Meta()]])
def test_what_has_an_example_is_told_with_it(contract: Any) -> None:
    [(_, message)] = told("x", contract)
    assert message.endswith(", such as 0.5")


def test_half_of_a_surrogate_pair_is_a_fault() -> None:
    assert [place for place, _ in told({"parts": PARTS, "labels": {"a": "\ud800"}})] == ["labels.a"]
    assert told({"parts": PARTS, "\ud800": 1}) == [("\ud800", UNKNOWN)]

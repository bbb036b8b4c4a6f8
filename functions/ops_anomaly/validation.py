"""Contracts: what JSON must look like, and everything that is wrong with what does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

MISSING = "Field required"
UNKNOWN = "There is no such field"

_fields = cache(msgspec.structs.fields)  # finding out takes a tenth of a millisecond


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what is read or written as JSON: an unknown field, such as a typo, is refused."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where: the names and positions that lead to it."""

    place: tuple[str | int, ...]
    message: str

    @property
    def path(self) -> str:
        """The place in writing; empty for the whole.

        Examples
        --------
        >>> Fault(("series", 3, "value"), "").path
        'series.3.value'
        """
        return ".".join(map(str, self.place))


def faults(data: Any, contract: Any, place: tuple[str | int, ...] = ()) -> Iterator[Fault]:
    """Yield what is wrong with data, part by part; msgspec itself stops at the first fault.

    What is wrong with the whole, such as its length, is told where nothing is with its parts.

    Parameters
    ----------
    data
        What a JSON text holds.
    contract
        A type as msgspec understands it. Of a union with None, the other type is looked into.
    place
        Where the data was found.

    Examples
    --------
    >>> class Reading(Contract):
    ...     value: float
    ...     unit: str | None = None
    >>> for fault in faults([{"unit": 7}, {"value": "0.2"}], list[Reading]):
    ...     print(fault.path, fault.message)
    0.value Field required
    0.unit Expected `str | null`, got `int`
    1.value Expected `float`, got `str`
    """
    try:
        msgspec.convert(data, contract)
    # half of a surrogate pair, which JSON can spell out, is no text to msgspec
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        is_inside = False
        for fault in _faults_inside(data, _plain(contract), place):
            is_inside = True
            yield fault
        if not is_inside:
            yield Fault(place, f"{error}{_example(contract)}")


def _faults_inside(data: Any, kind: Any, place: tuple[str | int, ...]) -> Iterator[Fault]:
    """Yield the faults of the parts of an object or a list."""
    if isinstance(data, list) and get_origin(kind) is list:
        for number, item in enumerate(data):
            yield from faults(item, get_args(kind)[0], (*place, number))
    elif isinstance(data, dict) and get_origin(kind) is dict:
        of_names, of_items = get_args(kind)
        for name, item in data.items():
            where = (*place, name)
            for fault in faults(name, of_names):  # a name and its item have the same place
                yield Fault(where, f"The name itself: {fault.message}")
            yield from faults(item, of_items, where)
    elif isinstance(data, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = _fields(kind)
        for field in fields:
            if field.encode_name in data:
                where = (*place, field.encode_name)
                yield from faults(data[field.encode_name], field.type, where)
            elif field.required:
                yield Fault((*place, field.encode_name), MISSING)
        if kind.__struct_config__.forbid_unknown_fields:
            known = {field.encode_name for field in fields}
            yield from (Fault((*place, name), UNKNOWN) for name in data if name not in known)


def _plain(contract: Any) -> Any:
    """Return the type itself, without what annotates it or allows None beside it."""
    *_, plain = _layers(contract)
    return plain


def _example(contract: Any) -> str:
    """Return how the contract's own example is told, if it has one."""
    for layer in _layers(contract):
        for meta in getattr(layer, "__metadata__", ()):
            if meta.examples:
                return f"; an example is {meta.examples[0]!r}"
    return ""


def _layers(contract: Any) -> Iterator[Any]:
    """Yield a type, and what is left of it without what annotates it or allows None beside it."""
    yield contract
    if get_origin(contract) is Annotated:
        yield from _layers(get_args(contract)[0])
    elif get_origin(contract) in (Union, UnionType):
        others = [each for each in get_args(contract) if each is not NoneType]
        if len(others) == 1:
            yield from _layers(others[0])

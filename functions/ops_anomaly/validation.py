"""Contracts of JSON, and every fault of data that doesn't conform to one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

MISSING = "Field required"
UNKNOWN = "Unknown field"

_fields = cache(msgspec.structs.fields)  # takes a tenth of a millisecond


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what is read or written as JSON; unknown fields, such as typos, are refused."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where.

    Attributes
    ----------
    location : tuple of str or int
        Names and positions that lead to it; empty for the whole.
    """

    location: tuple[str | int, ...]
    message: str

    @property
    def path(self) -> str:
        """The location as text.

        Examples
        --------
        >>> Fault(("series", 3, "value"), "").path
        'series.3.value'
        """
        return ".".join(map(str, self.location))


def faults(
    data: Any, contract: Any, location: tuple[str | int, ...] = (), *, strict: bool = True
) -> Iterator[Fault]:
    """Yield all faults of data, part by part, lazily; msgspec itself stops at the first one.

    Faults of a whole, such as its length, are reported only if its parts have none.

    Parameters
    ----------
    data
        Parsed JSON.
    contract
        A type as msgspec has them.
    location
        Where the data was found.
    strict
        Whether text is no number; it is one in the query of a URL.

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
        msgspec.convert(data, contract, strict=strict)
    # JSON can spell out half of a surrogate pair, which msgspec doesn't accept as text
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        is_inside = False
        for fault in _faults_inside(data, _plain(contract), location, strict):
            is_inside = True
            yield fault
        if not is_inside:
            yield Fault(location, f"{error}{_choices(contract) or _example(contract)}")


def _faults_inside(
    data: Any, kind: Any, location: tuple[str | int, ...], strict: bool
) -> Iterator[Fault]:
    """Yield the faults of the parts of an object or a list."""
    if isinstance(data, list) and get_origin(kind) is list:
        for number, item in enumerate(data):
            yield from faults(item, get_args(kind)[0], (*location, number), strict=strict)
    elif isinstance(data, dict) and get_origin(kind) is dict:
        of_names, of_items = get_args(kind)
        for name, item in data.items():
            where = (*location, name)
            for fault in faults(name, of_names):  # a name and its item have the same location
                yield Fault(where, f"Invalid name: {fault.message}")
            yield from faults(item, of_items, where, strict=strict)
    elif isinstance(data, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = _fields(kind)
        for field in fields:
            if field.encode_name in data:
                where = (*location, field.encode_name)
                part = data[field.encode_name]
                yield from faults(part, field.type, where, strict=strict)
            elif field.required:
                yield Fault((*location, field.encode_name), MISSING)
        if kind.__struct_config__.forbid_unknown_fields:
            known = {field.encode_name for field in fields}
            yield from (Fault((*location, name), UNKNOWN) for name in data if name not in known)


def _plain(contract: Any) -> Any:
    """Return the type without its annotations and without None as an alternative."""
    *_, plain = _layers(contract)
    return plain


def _choices(contract: Any) -> str:
    """Return a hint with the values that a contract takes, if these can be listed."""
    plain = _plain(contract)
    if get_origin(plain) is not Literal:
        return ""
    return f": it is one of {', '.join(map(str, get_args(plain)))}"


def _example(contract: Any) -> str:
    """Return a hint with the contract's own example, if it has one."""
    for layer in _layers(contract):
        for meta in getattr(layer, "__metadata__", ()):
            if meta.examples:
                return f", such as {meta.examples[0]!r}"
    return ""


def _layers(contract: Any) -> Iterator[Any]:
    """Yield a type, then what is left without annotations, then without None."""
    yield contract
    if get_origin(contract) is Annotated:
        yield from _layers(get_args(contract)[0])
    elif get_origin(contract) in (Union, UnionType):
        others = [each for each in get_args(contract) if each is not NoneType]
        if len(others) == 1:
            yield from _layers(others[0])

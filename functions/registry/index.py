"""The index of models: their names, for a reader that may not list the bucket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from registry.errors import CorruptIndexError
from registry.keys import NAME_PATTERN


def write_index(names: Iterable[str]) -> bytes:
    """Return the index of these names."""
    return json.dumps({"names": sorted(set(names))}).encode()


def parse_index(data: bytes) -> list[str]:
    """Return the names in an index, sorted.

    Raises
    ------
    CorruptIndexError
        If it is anything but what `write_index` writes.

    Examples
    --------
    >>> parse_index(write_index(["web", "db"]))
    ['db', 'web']
    """
    try:
        names = json.loads(data)["names"]
        if isinstance(names, list) and all(re.fullmatch(NAME_PATTERN, name) for name in names):
            return sorted(names)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptIndexError(f"not an index of models: {error!r}") from error
    raise CorruptIndexError("not an index of models: names is no list of model names")

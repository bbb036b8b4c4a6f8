"""Settings that every function needs, read once from the environment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self


class SettingsError(ValueError):
    """An environment variable is missing or malformed; `template.yaml` sets them all."""


@dataclass(frozen=True, kw_only=True)
class BucketSettings:
    """The bucket of models, and how they are cached.

    Attributes
    ----------
    bucket : str
        `MODEL_BUCKET`.
    model_ttl_seconds : float
        `MODEL_TTL_SECONDS`: how long a model is served before it is refreshed.
    model_cache_bytes : int
        `MODEL_CACHE_BYTES`: bound on the cached artifacts.
    """

    bucket: str
    model_ttl_seconds: float = 300.0
    model_cache_bytes: int = 64 * 2**20

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], **more: Any) -> Self:
        """Read the settings.

        Parameters
        ----------
        more
            Further fields, of a function's own settings.

        Raises
        ------
        SettingsError
            With the variable and what it should be.

        Examples
        --------
        >>> BucketSettings.from_environment({"MODEL_BUCKET": "b", "MODEL_TTL_SECONDS": "5"})
        BucketSettings(bucket='b', model_ttl_seconds=5.0, model_cache_bytes=67108864)
        """
        return cls(
            bucket=required(environ, "MODEL_BUCKET", "set it to the bucket of the models"),
            model_ttl_seconds=_number(environ, "MODEL_TTL_SECONDS", cls.model_ttl_seconds),
            model_cache_bytes=int(_number(environ, "MODEL_CACHE_BYTES", cls.model_cache_bytes)),
            **more,
        )


def required(environ: Mapping[str, str], name: str, remedy: str) -> str:
    """Return a variable that must be set, else raise `SettingsError` with what to do."""
    text = environ.get(name, "")
    if not text:
        raise SettingsError(f"{name} is not set: {remedy}")
    return text


def whole_number(environ: Mapping[str, str], name: str, default: int) -> int:
    """Return a variable that holds a whole number of at least 1, else raise `SettingsError`."""
    number = _number(environ, name, default)
    if number < 1 or number % 1:
        raise SettingsError(f"{name} is {number:g}: it must be a whole number of at least 1")
    return int(number)


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise SettingsError(f"{name} is {text!r}: it must be a number of at least 0")
    return number

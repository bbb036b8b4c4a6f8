"""What the environment says, read once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from registry.errors import InvalidModelNameError
from registry.keys import check_name


class SettingsError(ValueError):
    """An environment variable is missing or malformed; `template.yaml` sets them all."""


@dataclass(frozen=True)
class Settings:
    """The API's configuration.

    Attributes
    ----------
    bucket : str
        `MODEL_BUCKET`: where the models lie.
    default_model : str
        `DEFAULT_MODEL`: the model of requests that name none.
    model_ttl_seconds : float
        `MODEL_TTL_SECONDS`: how long a model is served before the bucket is asked again.
    model_cache_bytes : int
        `MODEL_CACHE_BYTES`: bound on the artifacts kept in memory.
    """

    bucket: str
    default_model: str = "ec2-cpu"
    model_ttl_seconds: float = 300.0
    model_cache_bytes: int = 64 * 2**20

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings.

        Raises
        ------
        SettingsError
            Naming the variable and what it should be.

        Examples
        --------
        >>> Settings.from_environment({"MODEL_BUCKET": "b", "MODEL_TTL_SECONDS": "5"})
        ... # doctest: +NORMALIZE_WHITESPACE
        Settings(bucket='b', default_model='ec2-cpu', model_ttl_seconds=5.0,
                 model_cache_bytes=67108864)
        """
        bucket = environ.get("MODEL_BUCKET", "")
        if not bucket:
            raise SettingsError("MODEL_BUCKET is not set: name the bucket that holds the models")
        default_model = environ.get("DEFAULT_MODEL") or cls.default_model
        try:
            check_name(default_model)
        except InvalidModelNameError as error:
            raise SettingsError(f"DEFAULT_MODEL: {error}") from error
        return cls(
            bucket=bucket,
            default_model=default_model,
            model_ttl_seconds=_number(environ, "MODEL_TTL_SECONDS", cls.model_ttl_seconds),
            model_cache_bytes=int(_number(environ, "MODEL_CACHE_BYTES", cls.model_cache_bytes)),
        )


def _number(environ: Mapping[str, str], name: str, default: float) -> float:
    text = environ.get(name)
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise SettingsError(f"{name} is {text!r}: a number of at least 0 is needed")
    return number

"""Where things lie in the bucket."""

from __future__ import annotations

import hashlib
import re

from registry.errors import InvalidModelNameError

NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
"""Model names: lower-case letters, digits and hyphens, 1 to 63 characters."""

INDEX_KEY = "models/index.json"
"""The names of all published models: the API may read objects, but not list the bucket."""

WATCH_KEY = "watch/watch.json"
"""The watch file, as published."""

SHARDS_KEY = "state/shards.json"
"""Into how many shards the fleet is cut."""

DIGEST_METADATA = "sha256"
CREATED_METADATA = "created"
"""Object metadata kept beside an artifact: its SHA-256, and when it was trained (ISO 8601)."""


def check_name(name: str) -> str:
    """Return `name` if a model may be called so, else raise `InvalidModelNameError`."""
    if not re.fullmatch(NAME_PATTERN, name):
        raise InvalidModelNameError(name)
    return name


def model_key(name: str) -> str:
    """Return the key of a model; its current object version is the one that is served.

    Examples
    --------
    >>> model_key("ec2-cpu")
    'models/ec2-cpu/model.safetensors'
    """
    return f"models/{check_name(name)}/model.safetensors"


def run_prefix(name: str, run: str) -> str:
    """Return the prefix under which a training run keeps its report; serving never reads it."""
    return f"runs/{check_name(name)}/{run}/"


def state_key(of: int, shard: int) -> str:
    """Return the key of what the watcher remembers of one of `of` shards of the fleet.

    Examples
    --------
    >>> state_key(4, 3)
    'state/metrics/4/3'
    """
    return f"state/metrics/{of}/{shard}"


def shelf_key(of: int, shard: int) -> str:
    """Return the key of where the detectors of a shard have got to; a cache, and no more."""
    return f"state/detectors/{of}/{shard}"


def alarm_key(arn: str) -> str:
    """Return the key of what the watcher remembers of an alarm."""
    return f"state/alarms/{hashlib.sha256(arn.encode()).hexdigest()}.json"

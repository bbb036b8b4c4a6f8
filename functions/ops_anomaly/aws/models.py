"""Published models by name: loaded on first use, cached and refreshed; and the index of names."""

from __future__ import annotations

import json
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from ops_anomaly.aws.errors import (
    CorruptIndexError,
    ModelNotFoundError,
    ModelUnavailableError,
    ObjectNotFoundError,
    StoreUnavailableError,
)
from ops_anomaly.aws.objects import (
    CREATED_METADATA,
    DIGEST_METADATA,
    INDEX_KEY,
    NAME_PATTERN,
    model_key,
)
from ops_anomaly.detection.artifact import Manifest, unpack
from ops_anomaly.detection.types import ArtifactError

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore, StoredObject
    from ops_anomaly.detection.types import Detector


def write_index(names: Iterable[str]) -> bytes:
    """Return the index of these names."""
    return json.dumps({"names": sorted(set(names))}).encode()


def parse_index(data: bytes) -> list[str]:
    """Return the names in an index, sorted.

    Raises
    ------
    CorruptIndexError
        Unless it has the form that `write_index` writes.

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
    raise CorruptIndexError("not an index of models: names must be a list of model names")


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes
    ----------
    version : str
        The VersionId in the bucket.
    created : str
        When it was trained, ISO 8601, or empty where the object does not say.
    size : int
        Bytes of the artifact.
    checked_at : float
        When the bucket was last asked for a newer version, in seconds of the registry's clock.
    """

    detector: Detector
    manifest: Manifest
    version: str
    created: str
    etag: str
    size: int
    checked_at: float

    @property
    def trained_on(self) -> int:
        """Number of readings that it was trained on, by its manifest; 0 where that is unknown."""
        readings = self.manifest.training_data.get("readings")
        return readings if type(readings) is int and 0 <= readings < 2**53 else 0

    @property
    def step(self) -> float | None:
        """Milliseconds between the readings that it was trained on, where its manifest says so."""
        step = self.manifest.training_data.get("step_ms")
        if isinstance(step, bool) or not isinstance(step, int | float):
            return None
        return step if 0 < step < 2**53 else None

    @property
    def trained_until(self) -> int | None:
        """Time of the last reading that it was trained on, milliseconds, where it says so."""
        last = valid_time(str(self.manifest.training_data.get("last")))
        return round(1_000 * datetime.fromisoformat(last).timestamp()) if last else None


def valid_time(text: str) -> str:
    """Return `text` if it is an ISO 8601 time with an offset, else an empty string."""
    try:
        return text if datetime.fromisoformat(text).tzinfo else ""
    except ValueError:
        return ""


class ModelRegistry:
    """A bounded cache of models over an object store.

    Only success is cached: a model that can't be loaded is tried again at the next call. A failed
    refresh never evicts a cached model; the failure is reported instead.

    Parameters
    ----------
    store
        Where the objects are read from.
    ttl_seconds
        How long a model is served before it is refreshed (`If-None-Match`).
    cache_bytes
        Bound on the cached artifacts; the least recently used go first, the last one stays.
    on_refresh_failed
        Called with the model's name and the error.
    clock
        Seconds, monotonic.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        ttl_seconds: float,
        cache_bytes: int,
        on_refresh_failed: Callable[[str, Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._ttl_seconds = ttl_seconds
        self._cache_bytes = cache_bytes
        self._on_refresh_failed = on_refresh_failed
        self._clock = clock
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()

    def get(self, name: str) -> LoadedModel:
        """Return the live model, read from the bucket at most `ttl_seconds` ago.

        Raises
        ------
        InvalidModelNameError
            If the name is invalid.
        ModelNotFoundError
            If no model of this name is published (or it may not be read).
        ModelUnavailableError
            If it is not cached and can't be loaded now.
        """
        model = self._models.get(name)
        if model is None:
            model = self._load(name)
        elif self._clock() - model.checked_at >= self._ttl_seconds:
            model = self._refresh(name, model)
        self._cache(name, model)
        return model

    def names(self) -> list[str]:
        """Return the names of all published models, sorted.

        Raises
        ------
        ModelUnavailableError
            If the bucket does not respond, or its index can't be read.
        """
        try:
            index = self._store.read(INDEX_KEY)
            return parse_index(index.data) if index else []
        except ObjectNotFoundError:
            return []
        except (StoreUnavailableError, CorruptIndexError) as error:
            raise ModelUnavailableError(f"the index of models: {error}") from error

    def _load(self, name: str) -> LoadedModel:
        try:
            stored = self._store.read(model_key(name))
        except ObjectNotFoundError as error:
            raise ModelNotFoundError(f"model {name!r} is not published ({error})") from error
        except StoreUnavailableError as error:
            raise ModelUnavailableError(f"model {name!r}: {error}") from error
        if stored is None:  # not modified, although no ETag was sent
            raise ModelUnavailableError(f"model {name!r}: the bucket sent no object")
        try:
            return self._read(name, stored)
        except ArtifactError as error:
            raise ModelUnavailableError(
                f"model {name!r}, version {stored.version}: {error}"
            ) from error

    def _refresh(self, name: str, model: LoadedModel) -> LoadedModel:
        try:
            stored = self._store.read(model_key(name), unless_etag=model.etag)
            if stored is not None:
                return self._read(name, stored)
        except Exception as error:  # whatever is wrong with the new version, the cached one works
            self._on_refresh_failed(name, error)
        return replace(model, checked_at=self._clock())

    def _read(self, name: str, stored: StoredObject) -> LoadedModel:
        detector, manifest = unpack(stored.data, stored.metadata.get(DIGEST_METADATA, ""))
        return LoadedModel(
            detector=detector,
            manifest=manifest,
            version=stored.version,
            created=valid_time(stored.metadata.get(CREATED_METADATA, "")),
            etag=stored.etag,
            size=len(stored.data),
            checked_at=self._clock(),
        )

    def _cache(self, name: str, model: LoadedModel) -> None:
        self._models[name] = model
        self._models.move_to_end(name)
        while len(self._models) > 1 and self._cached_bytes() > self._cache_bytes:
            self._models.popitem(last=False)

    def _cached_bytes(self) -> int:
        return sum(model.size for model in self._models.values())

"""Published models by name: loaded on first use, cached and refreshed; and their index."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec

from ops_anomaly.aws.errors import (
    AwsError,
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
    CachedObject,
    model_key,
)
from ops_anomaly.detection.artifact import Manifest, unpack
from ops_anomaly.detection.types import ArtifactError

if TYPE_CHECKING:
    from ops_anomaly.aws.objects import ObjectStore, StoredObject
    from ops_anomaly.detection.types import Detector

READERS = 16
"""Models that are read in parallel: 500 of 0.55 MB then take as long as their bytes, and not 500
times S3's response time."""


INDEXED_TTL_SECONDS = 6 * 3_600
"""How long a model whose version is the index's is served before it is refreshed: the index lags
behind if whoever published was cut off, or two published together."""


class ModelIndex(msgspec.Struct, frozen=True):
    """The index of published models: whoever may not list the bucket reads it.

    Attributes
    ----------
    models : dict of str to str
        The live version of each, by name.
    """

    models: dict[Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)], str]


def write_index(models: Mapping[str, str]) -> bytes:
    """Return the index of models and their versions."""
    return msgspec.json.encode(ModelIndex(dict(sorted(models.items()))))


def parse_index(data: bytes) -> dict[str, str]:
    """Return the models in an index and their versions, sorted by name.

    Raises
    ------
    CorruptIndexError
        Unless it has the form that `write_index` writes.

    Examples
    --------
    >>> parse_index(write_index({"web": "v2", "db": "v1"}))
    {'db': 'v1', 'web': 'v2'}
    """
    try:
        return dict(sorted(msgspec.json.decode(data, type=ModelIndex).models.items()))
    except (ValueError, RecursionError) as error:
        raise CorruptIndexError(f"not an index of models: {error}") from error


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Attributes
    ----------
    name : str
        That it is published under.
    version : str
        The VersionId in the bucket.
    created : str
        When it was trained, ISO 8601, or empty where the object does not say.
    size : int
        Bytes of the artifact.
    checked_at : float
        When the bucket was last asked for a newer version, in seconds of the registry's clock.
    """

    name: str
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
        self._cached_bytes = 0
        self._index = CachedObject(store, INDEX_KEY, parse_index)

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

    def get_published(
        self, names: Iterable[str], on_unavailable: Callable[[str, Exception], None]
    ) -> dict[str, LoadedModel]:
        """Return those of many models that are published, as the index has them.

        The index has their versions, and only what has another one is read, several in parallel.

        Parameters
        ----------
        on_unavailable
            Called with the name and the error of a model that is not cached and can't be loaded;
            and of the index, if it can't be read: those that are cached are returned then.

        Raises
        ------
        StoreUnavailableError
            If the bucket does not respond, and none of them is cached.
        """
        from concurrent.futures import ThreadPoolExecutor  # of no use to the API's cold start

        names = set(names)
        versions = {name: self._models[name].version for name in names & self._models.keys()}
        try:
            versions = self._index.read() or versions
        except CorruptIndexError as error:
            on_unavailable(INDEX_KEY, error)
        except StoreUnavailableError as error:
            if not versions:
                raise
            on_unavailable(INDEX_KEY, error)
        wanted = sorted(names & versions.keys())
        found = {name: self._models[name] for name in wanted if name in self._models}
        due = [name for name in wanted if not self._is_current(found.get(name), versions[name])]
        with ThreadPoolExecutor(READERS) as pool:
            loaded = list(pool.map(self._try_to_read, due, map(found.get, due)))
        for name, model in zip(due, loaded, strict=True):
            if isinstance(model, LoadedModel):
                found[name] = model
            else:
                on_unavailable(name, model)
        for name, model in found.items():
            self._cache(name, model)
        return found

    def _is_current(self, model: LoadedModel | None, version: str) -> bool:
        """Return whether a model need not be read: it was lately, or the index has this version."""
        if model is None:
            return False
        is_indexed = model.version == version
        ttl = INDEXED_TTL_SECONDS if is_indexed else self._ttl_seconds
        return self._clock() - model.checked_at < ttl

    def _try_to_read(self, name: str, model: LoadedModel | None) -> LoadedModel | Exception:
        """Load or refresh a model; return the error if there is none to serve."""
        try:
            return self._refresh(name, model) if model else self._load(name)
        except AwsError as error:
            return error

    def names(self) -> list[str]:
        """Return the names of all published models, sorted.

        Raises
        ------
        ModelUnavailableError
            If the bucket does not respond, or its index can't be read.
        """
        try:
            return list(self._index.read() or {})
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
            name=name,
            detector=detector,
            manifest=manifest,
            version=stored.version,
            created=valid_time(stored.metadata.get(CREATED_METADATA, "")),
            etag=stored.etag,
            size=len(stored.data),
            checked_at=self._clock(),
        )

    def _cache(self, name: str, model: LoadedModel) -> None:
        known = self._models.get(name)
        self._cached_bytes += model.size - (known.size if known else 0)
        self._models[name] = model
        self._models.move_to_end(name)
        while len(self._models) > 1 and self._cached_bytes > self._cache_bytes:
            _, oldest = self._models.popitem(last=False)
            self._cached_bytes -= oldest.size

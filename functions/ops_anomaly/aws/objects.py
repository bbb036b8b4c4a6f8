"""Keys of the bucket, and the object store: the small part of S3 that serving and watching need."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from ops_anomaly.aws.errors import (
    ConflictError,
    InvalidModelNameError,
    ObjectNotFoundError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from obstore.store import S3Store


NAME_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
"""Model names: lower-case letters, digits and hyphens, 1 to 63 characters."""

INDEX_KEY = "models/index.json"
"""The names of all published models: the API may read objects, but not list the bucket."""

WATCH_KEY = "watch/watch.json"
"""The watch file, as published."""

FLEET_KEY = "state/fleet.json"
"""The metrics that the watch file stands for, and the shard of each."""

INCIDENTS_KEY = "state/incidents.json"
"""The incidents of the fleet."""

FEEDBACK_KEY = "feedback/feedback.json"
"""What people have said of incidents."""

DIGEST_METADATA = "sha256"
CREATED_METADATA = "created"
"""Object metadata of an artifact: its SHA-256, and when it was trained (ISO 8601)."""

WRITE_ID_METADATA = "write-id"
"""Object metadata of every conditional write: random, so that a writer knows its own object again.

A client repeats a PUT that got no response, or a 5xx. If the first one was carried out, the second
one meets its object, and is refused with 412 as if somebody else had been faster.
"""

HTML = "text/html; charset=utf-8"
"""Content type of pages, so that a browser shows them."""

WRITE_ATTEMPTS = 3
"""Tries at a conditional write while others are being carried out (409)."""


def new_write_id() -> str:
    """Return a value for `WRITE_ID_METADATA`."""
    return os.urandom(16).hex()


def check_name(name: str) -> str:
    """Return `name` if it is a valid model name, else raise `InvalidModelNameError`."""
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


def state_key(shard: int) -> str:
    """Return the key of the state of a shard of the fleet.

    Examples
    --------
    >>> state_key(3)
    'state/fleet/3'
    """
    return f"state/fleet/{shard}"


def checkpoint_key(shard: int) -> str:
    """Return the key of the checkpoints of a shard's detectors; a cache that may be lost."""
    return f"state/detectors/{shard}"


def anomalies_key(shard: int) -> str:
    """Return the key of the anomalies that a shard of the fleet reports."""
    return f"state/anomalies/{shard}.json"


def alarm_key(arn: str) -> str:
    """Return the key of the state of an alarm."""
    return f"state/alarms/{hashlib.sha256(arn.encode()).hexdigest()}.json"


@dataclass(frozen=True)
class StoredObject:
    """One version of an object: its bytes and metadata."""

    data: bytes
    etag: str
    version: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """Objects by key, with optimistic concurrency by ETag."""

    def read(self, key: str, unless_etag: str | None = None) -> StoredObject | None:
        """Return the current version, or None if its ETag is still `unless_etag`.

        Raises
        ------
        ObjectNotFoundError
            If it doesn't exist, or may not be read.
        StoreUnavailableError
            If the bucket does not respond.
        """
        ...

    def write(self, key: str, data: bytes, if_etag: str | None) -> str:
        """Write an object if its current ETag is `if_etag`; return the new ETag.

        A write that was carried out and whose response was lost is a success.

        Parameters
        ----------
        if_etag
            None if the object must not exist yet.

        Raises
        ------
        ConflictError
            If the object has another ETag, or others write at the same time.
        StoreUnavailableError
            If the bucket refuses, or does not respond: whether it has written is not known then.
        """
        ...

    def overwrite(self, key: str, data: bytes) -> None:
        """Write an object unconditionally.

        Raises
        ------
        StoreUnavailableError
            If the bucket does not respond, or refuses.
        """
        ...


class S3ObjectStore:
    """A bucket, by obstore (45 ms from import to response, where boto3 takes 770).

    Parameters
    ----------
    timeout_seconds
        Bound on one request; at most three are tried.
    credential_provider
        Of obstore; None takes the environment's, which are those of a Lambda.
    """

    def __init__(
        self, bucket: str, timeout_seconds: int = 4, credential_provider: Any = None
    ) -> None:
        self.bucket = bucket
        self._timeout_seconds = timeout_seconds
        self._credential_provider = credential_provider

    @cached_property
    def _store(self) -> S3Store:
        from obstore.store import S3Store

        # Credentials, region and AWS_ENDPOINT_URL come from the environment, as in every AWS
        # client. The bounds keep one request to a dead bucket well under the function's timeout;
        # plain HTTP is used only for an AWS_ENDPOINT_URL with http://, such as the laptop stack's.
        return S3Store(
            self.bucket,
            client_options={
                "connect_timeout": "2s",
                "timeout": f"{self._timeout_seconds}s",
                "allow_http": True,
            },
            retry_config={
                "max_retries": 2,
                "retry_timeout": timedelta(seconds=self._timeout_seconds + 1),
            },
            credential_provider=self._credential_provider,
        )

    def read(self, key: str, unless_etag: str | None = None) -> StoredObject | None:
        """Read one object; see `ObjectStore.read`."""
        from obstore import exceptions

        try:
            result = self._store.get(
                key, options={"if_none_match": unless_etag} if unless_etag else None
            )
            data = bytes(result.bytes())
        except exceptions.NotModifiedError:
            return None
        except (
            FileNotFoundError,
            exceptions.NotFoundError,
            exceptions.PermissionDeniedError,
        ) as error:
            raise ObjectNotFoundError(f"s3://{self.bucket}/{key}") from error
        except exceptions.BaseError as error:
            raise self._unavailable(key, error) from error
        return StoredObject(
            data=data,
            etag=result.meta["e_tag"] or "",
            version=result.meta["version"] or "",
            metadata={str(name): str(value) for name, value in result.attributes.items()},
        )

    def write(self, key: str, data: bytes, if_etag: str | None) -> str:
        """Write one object; see `ObjectStore.write`."""
        from obstore import exceptions

        write_id = new_write_id()
        for _ in range(WRITE_ATTEMPTS):
            try:
                result = self._store.put(
                    key,
                    data,
                    attributes={WRITE_ID_METADATA: write_id},
                    mode={"e_tag": if_etag} if if_etag else "create",
                    use_multipart=False,  # one request, and so one condition
                )
                return result["e_tag"] or ""
            except exceptions.BaseError as error:
                etag, found_id = self._head(key)
                if found_id == write_id:  # no more than the response was lost
                    return etag or ""
                if not isinstance(
                    error, exceptions.PreconditionError | exceptions.AlreadyExistsError
                ):
                    raise self._unavailable(key, error) from error
                if etag != if_etag:
                    break
                # the condition holds, yet others were just writing (409): try again
        raise ConflictError(f"s3://{self.bucket}/{key}: changed by another writer")

    def _head(self, key: str) -> tuple[str | None, str | None]:
        """Return ETag and write id of the current version, None where there is none."""
        from obstore import exceptions

        try:
            result = self._store.get(key, options={"head": True})
        except (
            FileNotFoundError,
            exceptions.NotFoundError,
            exceptions.PermissionDeniedError,  # what S3 says of a missing one without ListBucket
        ):
            return None, None
        except exceptions.BaseError as error:
            raise self._unavailable(key, error) from error
        return result.meta["e_tag"], result.attributes.get(WRITE_ID_METADATA)

    def overwrite(self, key: str, data: bytes) -> None:
        """Write one object; see `ObjectStore.overwrite`."""
        from obstore import exceptions

        attributes = {"Content-Type": HTML} if key.endswith(".html") else None
        try:
            self._store.put(key, data, attributes=attributes)
        except exceptions.BaseError as error:
            raise self._unavailable(key, error) from error

    def _unavailable(self, key: str, error: Exception) -> StoreUnavailableError:
        reason = str(error).strip().partition("\n")[0]
        return StoreUnavailableError(f"s3://{self.bucket}/{key}: {reason}")


Content = TypeVar("Content")


class CachedObject(Generic[Content]):
    """An object that is decoded when it has changed; every `read` asks the bucket whether it has.

    Parameters
    ----------
    decode
        From bytes; what it raises, `read` raises.
    """

    def __init__(self, store: ObjectStore, key: str, decode: Callable[[bytes], Content]) -> None:
        self._store, self._key, self._decode = store, key, decode
        self._etag: str | None = None
        self._content: Content | None = None

    def read(self) -> Content | None:
        """Return the content; None if there is no object.

        Raises
        ------
        StoreUnavailableError
            If the bucket does not respond.
        """
        try:
            stored = self._store.read(self._key, self._etag)
        except ObjectNotFoundError:
            self._etag = self._content = None
            return None
        if stored is not None:
            self._content = self._decode(stored.data)
            self._etag = stored.etag
        return self._content

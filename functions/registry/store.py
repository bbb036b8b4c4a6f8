"""Reading objects: the small part of S3 that serving needs, and its implementation by obstore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from registry.errors import ObjectNotFoundError, StoreUnavailableError

if TYPE_CHECKING:
    from obstore.store import S3Store


@dataclass(frozen=True)
class StoredObject:
    """One version of an object: its bytes and what the bucket says of it."""

    data: bytes
    etag: str
    version: str
    metadata: Mapping[str, str] = field(default_factory=dict)


class ObjectStore(Protocol):
    """Where objects are read from."""

    def read(self, key: str, unless_etag: str | None = None) -> StoredObject | None:
        """Return the current version, or None if its ETag is still `unless_etag`.

        Raises
        ------
        ObjectNotFoundError
            If there is none, or it may not be read.
        StoreUnavailableError
            If the bucket does not answer.
        """
        ...


class S3ObjectStore:
    """A bucket, read by obstore (45 ms from import to answer, where boto3 takes 770)."""

    def __init__(self, bucket: str) -> None:
        self.bucket = bucket

    @cached_property
    def _store(self) -> S3Store:
        from obstore.store import S3Store

        # Credentials, region and AWS_ENDPOINT_URL come from the environment, as in every AWS
        # client. The bounds keep one request to a dead bucket well under the function's timeout;
        # plain HTTP is spoken only to an AWS_ENDPOINT_URL that asks for it, such as a laptop's.
        return S3Store(
            self.bucket,
            client_options={"connect_timeout": "2s", "timeout": "4s", "allow_http": True},
            retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=5)},
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
            reason = str(error).strip().partition("\n")[0]
            raise StoreUnavailableError(f"s3://{self.bucket}/{key}: {reason}") from error
        return StoredObject(
            data=data,
            etag=result.meta["e_tag"] or "",
            version=result.meta["version"] or "",
            metadata={str(name): str(value) for name, value in result.attributes.items()},
        )

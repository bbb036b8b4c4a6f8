"""The services of a run: the account's CloudWatch, and a bucket, or a folder of this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from ops_anomaly.aws.errors import DENIED, ConflictError, ObjectNotFoundError, StoreUnavailableError
from ops_anomaly.aws.objects import S3ObjectStore, StoredObject, new_write_id
from training import RunError
from training.publishing import BucketModels, check_bucket
from training.retraining.documents import Services
from training.sources.cloudwatch import cloudwatch_client, read_spans
from training.versions import s3_client

if TYPE_CHECKING:
    from ops_anomaly.aws.cloudwatch import Metric, Span
    from training.sources.series import LabelledSeries

NEEDED = "what training and publishing need is in docs/policies/train.json and publish.json"

Connect = Callable[[], Services]
"""Returns the services of a run; it is sent to every worker, and called there."""


class FolderStore:
    """An object store in a folder of this machine: a run without a bucket.

    Many processes may write, each its own objects: a conditional write is exclusive where there
    must be no object yet, and compares before it writes where there is one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str, unless_etag: str | None = None) -> StoredObject | None:
        """Read a file; see `ObjectStore.read`."""
        path = self.root / key
        with folder_errors(path):
            try:
                data = path.read_bytes()
            except FileNotFoundError as error:
                raise ObjectNotFoundError(str(path)) from error
        etag = etag_of(data)
        return None if etag == unless_etag else StoredObject(data, etag, etag)

    def write(self, key: str, data: bytes, if_etag: str | None) -> str:
        """Write a file on condition; see `ObjectStore.write`."""
        path = self.root / key
        with folder_errors(path), written_beside(path, data) as new:
            try:
                if if_etag is None:
                    os.link(new, path)  # fails where there is one
                elif etag_of(path.read_bytes()) == if_etag:
                    new.replace(path)
                else:
                    raise ConflictError(f"{path}: changed by another writer")
            except (FileExistsError, FileNotFoundError) as error:
                raise ConflictError(f"{path}: changed by another writer") from error
        return etag_of(data)

    def overwrite(self, key: str, data: bytes) -> None:
        """Write a file; see `ObjectStore.overwrite`."""
        path = self.root / key
        with folder_errors(path), written_beside(path, data) as new:
            new.replace(path)


@contextmanager
def written_beside(path: Path, data: bytes) -> Iterator[Path]:
    """Write a file that no one reads, so that no one reads half of one; it is gone afterwards."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{new_write_id()}")  # of processes on several machines
    try:
        new.write_bytes(data)
        yield new
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def folder_errors(path: Path) -> Iterator[None]:
    """Turn the errors of a file into one that says which file, and what is wrong with it."""
    try:
        yield
    except OSError as error:
        raise StoreUnavailableError(f"{path}: {error.strerror or error}") from error


def etag_of(data: bytes) -> str:
    """Return the ETag of a file's content."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class CloudWatchReader:
    """Reads series as `retraining.ReadSeries` has it, with a client of its own."""

    cloudwatch: Any

    def __call__(self, spans: Sequence[Span]) -> Mapping[Metric, LabelledSeries]:
        """Return metrics, each over its span."""
        return read_spans(self.cloudwatch, spans)


@dataclass(frozen=True)
class Account:
    """The services of the account of the environment, and of a bucket or a folder.

    Attributes
    ----------
    bucket : str or None
        Where the run is kept and models are published; without one, the run is in `folder`, and
        nothing is published.
    endpoint_url : str or None
        S3 elsewhere than AWS.
    """

    bucket: str | None = None
    endpoint_url: str | None = None
    folder: Path = Path()

    def __call__(self) -> Services:
        """Connect; see `Connect`."""
        reader = CloudWatchReader(cloudwatch_client())
        if self.bucket is None:
            return Services(FolderStore(self.folder), reader)
        from obstore.auth.boto3 import Boto3CredentialProvider

        if self.endpoint_url:
            os.environ["AWS_ENDPOINT_URL"] = self.endpoint_url  # as obstore takes it
        s3 = s3_client(self.endpoint_url)
        check_bucket(s3, self.bucket)
        try:
            store = S3ObjectStore(self.bucket, 20, Boto3CredentialProvider())
        except ValueError as error:
            raise RunError(
                f"bucket {self.bucket} can't be used: {error}; set AWS_PROFILE or credentials"
            ) from error
        return Services(store, reader, BucketModels(s3, self.bucket))


def explained(error: Exception) -> str:
    """Return an error's message; where a permission is missing, with where those needed are."""
    return f"{error}; {NEEDED}" if is_denied(error) else str(error)


def is_denied(error: BaseException | None) -> bool:
    """Return whether an error, or what it came of, is a permission that is missing."""
    from obstore.exceptions import PermissionDeniedError

    if error is None:
        return False
    if isinstance(error, ClientError) and DENIED.search(error.response["Error"]["Code"]):
        return True
    return isinstance(error, PermissionDeniedError) or is_denied(error.__cause__)

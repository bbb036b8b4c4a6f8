"""The object store over HTTP: conditional writes in a bucket, and every way a bucket can fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ops_anomaly.aws.errors import ConflictError, ObjectNotFoundError, StoreUnavailableError
from ops_anomaly.aws.objects import S3ObjectStore
from tests.conftest import Bucket


@pytest.fixture
def store(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> S3ObjectStore:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint_url)
    return S3ObjectStore(bucket.name)


def test_an_object_is_created_once_and_replaced_by_its_etag(store: S3ObjectStore) -> None:
    first = store.write("key", b"1", None)
    with pytest.raises(ConflictError, match="key: changed by another writer"):
        store.write("key", b"2", None)
    second = store.write("key", b"2", first)
    with pytest.raises(ConflictError):
        store.write("key", b"3", first)
    found = store.read("key")
    assert found is not None
    assert (found.data, found.etag) == (b"2", second)


def test_an_unchanged_object_is_not_sent_again(store: S3ObjectStore) -> None:
    etag = store.write("key", b"1", None)
    assert store.read("key", unless_etag=etag) is None
    store.overwrite("key", b"2")
    changed = store.read("key", unless_etag=etag)
    assert changed is not None
    assert changed.data == b"2"


def test_version_and_metadata_are_read(store: S3ObjectStore, bucket: Bucket) -> None:
    put = bucket.s3.put_object(Bucket=bucket.name, Key="key", Body=b"1", Metadata={"sha256": "2"})
    found = store.read("key")
    assert found is not None
    assert (found.version, found.metadata["sha256"]) == (put["VersionId"], "2")


class FailingHandler(BaseHTTPRequestHandler):
    """A bucket that responds to every request with the server's status, or hangs up."""

    server: FailingBucket

    def respond(self) -> None:
        self.server.requests += 1
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.server.status:
            self.close_connection = True
            return
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = respond  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class FailingBucket(ThreadingHTTPServer):
    status = 200
    requests = 0


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[FailingBucket]:
    with FailingBucket(("127.0.0.1", 0), FailingHandler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.shutdown()


def read(store: S3ObjectStore) -> None:
    store.read("key")


def write(store: S3ObjectStore) -> None:
    store.write("key", b"1", '"etag"')


def create(store: S3ObjectStore) -> None:
    store.write("key", b"1", None)


def overwrite(store: S3ObjectStore) -> None:
    store.overwrite("key", b"1")


@pytest.mark.parametrize("operation", [read, write, create, overwrite])
@pytest.mark.parametrize("status", [0, 400, 500, 503])
def test_a_failing_bucket_is_unavailable(failing: FailingBucket, status: int, operation) -> None:
    failing.status = status
    with pytest.raises(StoreUnavailableError, match=r"^s3://bucket/key: [^\n]+$"):
        operation(S3ObjectStore("bucket", timeout_seconds=1))


@pytest.mark.parametrize("status", [403, 404])
def test_an_object_that_may_not_be_read_is_not_found(failing: FailingBucket, status: int) -> None:
    failing.status = status
    with pytest.raises(ObjectNotFoundError, match="s3://bucket/key"):
        read(S3ObjectStore("bucket"))


@pytest.mark.parametrize("operation", [write, create, overwrite])
def test_a_refused_write_is_unavailable(failing: FailingBucket, operation) -> None:
    failing.status = 403
    with pytest.raises(StoreUnavailableError):
        operation(S3ObjectStore("bucket"))


@pytest.mark.parametrize("operation", [write, create])
@pytest.mark.parametrize("status", [409, 412])
def test_a_write_that_another_one_preceded_is_a_conflict(
    failing: FailingBucket, status: int, operation
) -> None:
    failing.status = status
    with pytest.raises(ConflictError):
        operation(S3ObjectStore("bucket", timeout_seconds=1))


def test_a_server_error_is_tried_three_times(failing: FailingBucket) -> None:
    failing.status = 503
    with pytest.raises(StoreUnavailableError):
        read(S3ObjectStore("bucket", timeout_seconds=3))
    assert failing.requests == 3


def test_a_bucket_that_can_not_be_reached_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailableError):
        read(S3ObjectStore("bucket", timeout_seconds=1))

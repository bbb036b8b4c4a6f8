"""The object store over HTTP: conditional writes in a bucket, and every way a bucket can fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ops_anomaly.aws.errors import ConflictError, ObjectNotFoundError, StoreUnavailableError
from ops_anomaly.aws.objects import S3ObjectStore
from tests.conftest import Bucket
from tests.support.forwarding import running
from tests.support.lost_responses import How, LostResponses


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


def test_a_page_is_shown_by_a_browser(store: S3ObjectStore, bucket: Bucket) -> None:
    store.overwrite("report.html", b"<p>")
    head = bucket.s3.head_object(Bucket=bucket.name, Key="report.html")
    assert head["ContentType"] == "text/html; charset=utf-8"


def test_version_and_metadata_are_read(store: S3ObjectStore, bucket: Bucket) -> None:
    put = bucket.s3.put_object(Bucket=bucket.name, Key="key", Body=b"1", Metadata={"sha256": "2"})
    found = store.read("key")
    assert found is not None
    assert (found.version, found.metadata["sha256"]) == (put["VersionId"], "2")


@pytest.fixture
def losing(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[LostResponses]:
    """The bucket behind a server that loses responses."""
    with running(LostResponses(bucket.endpoint_url)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("how", ["error", "hang up", "late"])
def test_a_write_whose_response_is_lost_has_been_done(
    losing: LostResponses, bucket: Bucket, how: How, times: int
) -> None:
    store = S3ObjectStore(bucket.name, timeout_seconds=1)
    losing.lose("PUT", "key", how, times)
    first = store.write("key", b"1", None)
    losing.lose("PUT", "key", how, times)
    second = store.write("key", b"2", first)
    found = store.read("key")
    assert found is not None
    assert (found.data, found.etag) == (b"2", second)
    assert len(versions(bucket)) == 2  # each was written once


def test_a_lost_response_does_not_hide_a_conflict(losing: LostResponses, bucket: Bucket) -> None:
    store = S3ObjectStore(bucket.name, timeout_seconds=1)
    theirs = store.write("key", b"theirs", None)
    losing.lose("PUT", "key", times=2)
    with pytest.raises(ConflictError):
        store.write("key", b"ours", None)
    with pytest.raises(ConflictError):
        store.write("key", b"ours", '"of before theirs"')
    assert store.read("key", unless_etag=theirs) is None


def test_equal_bytes_are_not_taken_for_the_own_write(store: S3ObjectStore) -> None:
    store.write("key", b"the same", None)
    with pytest.raises(ConflictError):
        store.write("key", b"the same", None)


def test_a_write_whose_outcome_is_not_known_is_not_a_success(
    losing: LostResponses, bucket: Bucket
) -> None:
    store = S3ObjectStore(bucket.name, timeout_seconds=1)
    losing.lose("PUT", "key")
    losing.lose("HEAD", "key", times=9)
    with pytest.raises(StoreUnavailableError):
        store.write("key", b"1", None)


def test_an_object_that_was_deleted_since_is_a_conflict(
    store: S3ObjectStore, bucket: Bucket
) -> None:
    etag = store.write("key", b"1", None)
    bucket.s3.delete_object(Bucket=bucket.name, Key="key")
    with pytest.raises(ConflictError):
        store.write("key", b"2", etag)


def versions(bucket: Bucket) -> list[str]:
    response = bucket.s3.list_object_versions(Bucket=bucket.name)
    return [each["VersionId"] for each in response["Versions"]]


class FailingHandler(BaseHTTPRequestHandler):
    """A bucket that responds to every request with the server's status, or hangs up."""

    server: FailingBucket

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.respond(self.server.refusals.pop(0) if self.server.refusals else self.server.status)

    def do_GET(self) -> None:
        self.respond(self.server.status)

    def do_HEAD(self) -> None:
        self.respond((200 if self.server.etag else 404) if self.server.is_up else 500)

    def respond(self, status: int) -> None:
        self.server.requests.append(self.command)
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.send_header("Last-Modified", "Wed, 25 Nov 2026 12:00:00 GMT")
        self.send_header("ETag", self.server.etag or '"new"')
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class FailingBucket(ThreadingHTTPServer):
    """See `FailingHandler`.

    Attributes
    ----------
    refusals
        Statuses of the next writes, before those with `status`.
    is_up
        Whether it shows what is there: an object with this ETag, or none.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.status, self.refusals, self.requests = 200, list[int](), list[str]()
        self.is_up, self.etag = False, ""


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
    failing.status, failing.is_up, failing.etag = status, True, '"of somebody else"'
    with pytest.raises(ConflictError):
        operation(S3ObjectStore("bucket", timeout_seconds=1))
    assert failing.requests[-1] == "HEAD"


@pytest.mark.parametrize(("operation", "etag"), [(write, '"etag"'), (create, "")])
def test_a_write_during_another_one_is_repeated(
    failing: FailingBucket, operation, etag: str
) -> None:
    failing.is_up, failing.etag = True, etag  # nothing has changed
    failing.refusals = [409, 409]  # S3's ConditionalRequestConflict
    operation(S3ObjectStore("bucket", timeout_seconds=1))
    assert failing.requests.count("PUT") == 3


@pytest.mark.parametrize(("operation", "etag"), [(write, '"etag"'), (create, "")])
def test_a_write_that_others_always_keep_from_ending_is_a_conflict(
    failing: FailingBucket, operation, etag: str
) -> None:
    failing.is_up, failing.etag, failing.status = True, etag, 409
    with pytest.raises(ConflictError):
        operation(S3ObjectStore("bucket", timeout_seconds=1))


def test_a_server_error_is_tried_three_times(failing: FailingBucket) -> None:
    failing.status = 503
    with pytest.raises(StoreUnavailableError):
        read(S3ObjectStore("bucket", timeout_seconds=3))
    assert failing.requests == ["GET"] * 3


def test_a_bucket_that_can_not_be_reached_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StoreUnavailableError):
        read(S3ObjectStore("bucket", timeout_seconds=1))

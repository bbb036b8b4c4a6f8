"""A fleet of several shards; `python -m benchmarks fleet` does it with 2,000."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.fleet import watch_fleet
from tests.conftest import Bucket


def test_shards_in_parallel_and_twice_notify_each_runaway_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint_url)
    outcome = watch_fleet(bucket.endpoint_url, bucket.name, machines=450, runaways=9)
    assert outcome.shards == 2
    assert outcome.jobs == 4
    assert outcome.notified == Counter(outcome.runaways)

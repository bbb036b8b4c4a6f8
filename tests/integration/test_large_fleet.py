"""A fleet of several shards; `python -m benchmarks.speed.large_fleet` does it with 2,000."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.speed.large_fleet import watch_large_fleet
from tests.conftest import Bucket


def test_shards_in_parallel_and_twice_tell_each_runaway_once(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", bucket.endpoint_url)
    outcome = watch_large_fleet(bucket.endpoint_url, bucket.name, machines=450, runaways=9)
    assert outcome.shards == 2
    assert outcome.turns == 4
    assert outcome.told == Counter(outcome.ran_away)

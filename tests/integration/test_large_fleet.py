"""Hours of a fleet of several shards on an AWS that is late, throttles, hangs, forgets and fails.

`python -m benchmarks fleet` does it with 2,000 metrics.
"""

from __future__ import annotations

import pytest

from benchmarks.fleet import watch_fleet
from tests.support.watcher import TIMEOUT_MS


@pytest.fixture(autouse=True)
def without_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    monkeypatch.setenv("POWERTOOLS_LOG_LEVEL", "CRITICAL")


@pytest.mark.parametrize(
    ("seed", "history_days", "timeout_ms"),
    [(1, 1, TIMEOUT_MS), (2, 28, 64_000)],
    ids=["one evaluation fits a job", "a first evaluation takes many jobs"],
)
def test_every_incident_is_notified_once_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, seed: int, history_days: int, timeout_ms: int
) -> None:
    monkeypatch.setattr("ops_anomaly.watcher.fleet.SHARD_SIZE", 20)
    outcome = watch_fleet(
        60, 8, hours=4, seed=seed, history_days=history_days, timeout_ms=timeout_ms
    )
    assert outcome.shards == 3
    assert outcome.lost_responses > 0
    assert outcome.throttled > 0
    assert outcome.failures > 10
    assert outcome.opened == outcome.closed == outcome.injected
    assert set(outcome.messages.values()) == {1}
    assert outcome.messages.total() == 2 * outcome.incidents
    assert 1 < outcome.incidents < outcome.injected.total()

"""Dividing a fleet into shards: nothing is lost or doubled, and a shard splits into two."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher.fleet import (
    TARGET_METRICS,
    Watched,
    decode_shard_job,
    encode_shard_job,
    shard_count,
    shard_jobs,
    shard_of,
)
from ops_anomaly.watcher.watch_file import Options

METRICS = st.builds(
    Metric,
    namespace=st.sampled_from(["AWS/EC2", "my shop"]),
    name=st.sampled_from(["CPUUtilization", "Orders"]),
    dimensions=st.tuples(st.tuples(st.just("Name"), st.text(min_size=1, max_size=9))),
    statistic=st.sampled_from(["Average", "p99"]),
    period=st.sampled_from([60, 300]),
)
FLEETS = st.lists(METRICS, unique=True, max_size=60)
COUNTS = st.integers(0, 6).map(lambda doublings: 2**doublings)


@given(FLEETS, COUNTS, st.integers(1, 3))
def test_every_metric_is_in_exactly_one_shard_with_its_entry(
    metrics: list[Metric], of: int, entries: int
) -> None:
    options = [Options(name=f"entry-{number}") for number in range(entries)]
    fleet = [Watched(each, metrics[number::entries]) for number, each in enumerate(options)]
    sent = [encode_shard_job(job) for job in shard_jobs(fleet, of, 0)]
    jobs = [decode_shard_job(message) for message in sent]
    assert [(job.of, job.shard) for job in jobs] == [(of, shard) for shard in range(of)]
    found = [
        (part.options, metric) for job in jobs for part in job.fleet for metric in part.metrics
    ]
    assert len(found) == len(metrics)
    assert set(found) == {(part.options, metric) for part in fleet for metric in part.metrics}


@given(METRICS, COUNTS)
def test_the_metrics_of_a_shard_come_from_one_shard_of_half_as_many(
    metric: Metric, of: int
) -> None:
    assert shard_of(metric, 2 * of) % of == shard_of(metric, of)


@given(st.integers(0, 200_000), COUNTS)
def test_shards_are_as_few_as_hold_the_fleet(metrics: int, before: int) -> None:
    of = shard_count(metrics, at_least=before)
    assert of * TARGET_METRICS >= metrics
    assert of == before or (of % (2 * before) == 0 and of // 2 * TARGET_METRICS < metrics)

"""Shards over random lists: nothing is lost, doubled or moved, and none is too large."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.watcher import fleet as fleets
from ops_anomaly.watcher.fleet import Fleet, listed_fleet, resolve, shard_count
from ops_anomaly.watcher.watch_file import WatchFile, parse_watch_file
from tests.support.fake_cloudwatch import FakeCloudWatch

SHARD_SIZE = 3
HOUR_MS, ABSENCE_HOURS = 3_600_000, 24
METRICS = [
    Metric("shop", "Orders", (("Page", f"{letter}{number}"),), "Sum", 60)
    for letter in "ab"
    for number in range(6)
]


@pytest.fixture(autouse=True, scope="module")
def small_shards() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fleets, "SHARD_SIZE", SHARD_SIZE)
        yield


class Listing(NamedTuple):
    """What CloudWatch lists, and the watch file, so many hours after the listing before."""

    hours: int
    metrics: set[Metric]
    exact: list[Metric]
    patterns: list[str]

    @property
    def watch_file(self) -> WatchFile:
        selectors = [
            {
                "name": f"selector-{number}",
                "namespace": "shop",
                "metric": "Orders",
                "dimensions": {"Page": pattern},
                "statistic": "Sum",
                "period": 60,
            }
            for number, pattern in enumerate(self.patterns)
        ]
        exact = [{"name": f"m{n}", "metric": str(metric)} for n, metric in enumerate(self.exact)]
        return parse_watch_file({"version": 1, "metrics": exact, "selectors": selectors})

    def entry_of(self, metric: Metric) -> str | None:
        """Return the name of the first entry that stands for a metric."""
        page = dict(metric.dimensions)["Page"]
        if metric in self.exact:
            return f"m{self.exact.index(metric)}"
        for number, pattern in enumerate(self.patterns):
            if pattern == "*" or pattern[0] == page[0]:
                return f"selector-{number}"
        return None


LISTINGS = st.lists(
    st.builds(
        Listing,
        hours=st.integers(0, 30),
        metrics=st.sets(st.sampled_from(METRICS)),
        exact=st.lists(st.sampled_from(METRICS), unique=True, max_size=2),
        patterns=st.lists(st.sampled_from(["*", "a*", "b*"]), min_size=1, max_size=3),
    ),
    min_size=1,
    max_size=6,
)


def run_through(listings: list[Listing]) -> list[tuple[Listing, int, Fleet]]:
    """Return the fleet after each listing, and when it was, milliseconds."""
    found: list[tuple[Listing, int, Fleet]] = []
    fleet, now = None, 0
    for listing in listings:
        now += listing.hours * HOUR_MS
        cloudwatch = FakeCloudWatch()
        cloudwatch.series = {metric: {} for metric in sorted(listing.metrics)}
        watched = resolve(cloudwatch, listing.watch_file)
        fleet = listed_fleet(fleet, watched, listing.watch_file, "etag", now)
        found.append((listing, now, fleet))
    return found


def shards(fleet: Fleet) -> dict[str, int]:
    return {member.metric: member.shard for member in fleet.members}


@given(LISTINGS)
def test_every_metric_that_is_listed_is_in_one_shard_and_none_is_too_large(
    listings: list[Listing],
) -> None:
    for listing, _, fleet in run_through(listings):
        of_each = [fleet.shard(number) for number in range(fleet.shards)]
        counts = Counter(metric for shard in of_each for metric in shard)
        wanted = {metric for metric in listing.metrics if listing.entry_of(metric)}
        assert wanted | set(listing.exact) <= counts.keys()
        assert set(counts.values()) <= {1}
        assert max(map(len, of_each)) <= SHARD_SIZE
        assert counts.total() == len(fleet.members)


@given(LISTINGS)
def test_a_metric_that_stays_keeps_its_shard_and_shards_are_never_fewer(
    listings: list[Listing],
) -> None:
    for (_, _, before), (_, _, after) in pairwise(run_through(listings)):
        stayed = shards(before).keys() & shards(after).keys()
        assert {text: shards(after)[text] for text in stayed} == {
            text: shards(before)[text] for text in stayed
        }
        assert after.shards >= before.shards


@given(LISTINGS)
def test_a_metric_stays_while_an_entry_stands_for_it_and_a_day_longer_than_it_is_listed(
    listings: list[Listing],
) -> None:
    last_listed: dict[Metric, int] = {}
    for listing, now, fleet in run_through(listings):
        entry_of = {metric: listing.entry_of(metric) for metric in METRICS}
        found = (listing.metrics | set(listing.exact)) & {m for m in METRICS if entry_of[m]}
        last_listed |= dict.fromkeys(found, now)
        last_listed = {
            metric: at
            for metric, at in last_listed.items()
            if entry_of[metric] and now - at < ABSENCE_HOURS * HOUR_MS
        }
        members = {Metric.parse(each.metric): each for each in fleet.members}
        assert {metric: each.listed_at for metric, each in members.items()} == last_listed
        assert {m: fleet.entries[each.entry].name for m, each in members.items()} == {
            metric: entry_of[metric] for metric in members
        }


@given(LISTINGS)
def test_a_list_is_read_as_it_was_written(listings: list[Listing]) -> None:
    for _, _, fleet in run_through(listings):
        assert msgspec.json.decode(msgspec.json.encode(fleet), type=Fleet) == fleet


@given(st.sets(st.sampled_from(METRICS)))
def test_a_new_fleet_has_as_few_shards_as_hold_it(metrics: set[Metric]) -> None:
    [(_, _, fleet)] = run_through([Listing(0, metrics, [], ["*"])])
    assert fleet.shards == shard_count(len(metrics))
    assert (fleet.shards - 1) * SHARD_SIZE < max(len(metrics), 1) <= fleet.shards * SHARD_SIZE

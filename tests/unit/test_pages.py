"""`python -m benchmarks pages`, with three of its metrics: what is found, and what wakes nobody."""

from __future__ import annotations

from benchmarks.pages import HAPPENINGS, KINDS, SETTINGS, START, STOP, Outcome, replayed, simulate

CHOSEN = (
    "Shop Heartbeat Host=host-07 Sum 300",
    "Shop Latency Route=/b Service=login Average 300",
    "Shop Errors Route=/a Service=search Sum 300",
)


def outcome(name: str) -> Outcome:
    [setting] = [each for each in SETTINGS if each.name == name]
    series = simulate(1, 1.0)
    return replayed(
        setting, {metric: each for metric, each in series.items() if str(metric) in CHOSEN}, None
    )


def test_the_shop_has_two_hundred_metrics() -> None:
    assert sum(len(kind.metrics) for kind in KINDS) == 200


def test_what_happens_is_found_once_and_nothing_else() -> None:
    found = outcome("+ grouping")
    slow, silent = (
        [each for each in found.found.incidents if happening.is_about(each)]
        for happening in HAPPENINGS
        if happening.name in ("a host is silent", "a route is slow")
    )
    assert (len(slow), len(silent)) == (1, 1)
    assert found.counts(START, STOP)[2] == 0, "for nothing"
    assert found.most_openings == 1
    assert found.below_least_deviation == 0

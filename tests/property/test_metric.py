"""A metric's text identifies it, whatever its parts hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import InvalidMetricError

NAMES = st.text(min_size=1, max_size=20)
DIMENSION_NAMES = st.text(st.characters(exclude_characters="=", codec="utf-8"), min_size=1)
AWKWARD = st.text(" \t\n'\"\\=$#;*", min_size=1)
METRICS = st.builds(
    Metric,
    namespace=NAMES | AWKWARD,
    name=NAMES | AWKWARD,
    dimensions=st.dictionaries(DIMENSION_NAMES, NAMES | AWKWARD).map(lambda d: tuple(d.items())),
    statistic=st.sampled_from(["Average", "Sum", "p99.9", "TM(10%:90%)"]),
    period=st.integers(1, 1440).map(lambda minutes: 60 * minutes),
)


@given(METRICS)
def test_a_metric_is_what_its_text_says(metric: Metric) -> None:
    assert Metric.parse(str(metric)) == metric


@given(st.lists(METRICS))
def test_metrics_with_the_same_text_are_the_same(metrics: list[Metric]) -> None:
    assert len(set(map(str, metrics))) == len(set(metrics))


WORDS = [
    *("AWS/EC2", "CPU", "A=1", "A=2", "=", "Sum", "p99", "60", "-1"),
    "''",
    "'a b'",
    "'",
    '"',
    "\\",
]


@given(st.text() | st.lists(st.sampled_from(WORDS), min_size=3).map(" ".join))
def test_any_text_is_a_metric_or_is_refused(text: str) -> None:
    try:
        metric = Metric.parse(text)
    except InvalidMetricError:
        return
    assert Metric.parse(str(metric)) == metric

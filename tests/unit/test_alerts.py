"""The alerts of a detection, as people read them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ops_anomaly.detection.types import Alert, Detection, Series
from training.alerts import most_severe, raised_alerts
from training.report import alert_lines
from training.sources.series import LabelledSeries

TIMES = 1_767_225_600_000 + 300_000 * np.arange(100)


@pytest.fixture
def series() -> LabelledSeries:
    return LabelledSeries(
        name="test",
        origin="a test",
        series=Series(TIMES, np.arange(100.0)),
        windows=np.array([[TIMES[20], TIMES[30]]]),
    )


def detection(*alerts: Alert) -> Detection:
    """A detection with these alerts, the later the more severe."""
    none = np.full(100, np.nan)
    return Detection(
        scores=np.arange(100.0),
        thresholds=np.full(100, 10.0),
        is_anomaly=np.zeros(100, bool),
        can_evaluate=np.ones(100, bool),
        expected=np.where(np.arange(100) < 15, np.nan, 5.0),
        lower=none,
        upper=none,
        reasons={alert.start: f"reason {alert.start}" for alert in alerts},
        alerts=list(alerts),
    )


def test_an_alert_is_what_its_message_says(series: LabelledSeries) -> None:
    found = detection(Alert(10, 12, 11), Alert(30, 30, 30))
    early, known = raised_alerts(series, found)
    assert (early.first, early.last, early.lasted) == (TIMES[10], TIMES[12], 900_000)
    assert (early.value, early.reason, early.is_known) == (10.0, "reason 10", False)
    assert early.severity == found.severity[11]
    assert np.isnan(early.expected)
    assert early.exclusion == "--exclude 2026-01-01T00:50:00Z 2026-01-01T01:00:00Z"
    assert (known.expected, known.is_known) == (5.0, True)


def test_the_most_severe_come_first_and_of_equals_the_earlier(series: LabelledSeries) -> None:
    one, two, three = raised_alerts(
        series, detection(Alert(10, 10, 10), Alert(12, 12, 12), Alert(14, 14, 14))
    )
    equal = replace(two, severity=three.severity)
    assert most_severe([one, three, equal]) == [equal, three, one]
    assert most_severe([one, two, three], 1) == [three]


def test_the_list_has_the_worst_ten_and_says_how_many_more(series: LabelledSeries) -> None:
    alerts = raised_alerts(series, detection(*(Alert(at, at, at) for at in range(40, 52))))
    lines = alert_lines(alerts)
    assert [line.strip() for line in lines if "reason" in line] == [
        f"reason {at}" for at in range(51, 41, -1)
    ]
    assert lines[-1] == "  and 2 less severe ones: see report and --json"
    assert "2026-01-01 04:15" in lines[2]
    assert alert_lines([]) == ["It would have raised no alert."]

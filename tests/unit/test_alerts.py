"""The alerts of a detection, as people read them; past incidents by feedback."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import msgspec
import numpy as np
import pytest
from rich.console import Console

from ops_anomaly.detection.types import Alert, Detection, Series
from ops_anomaly.watcher.feedback import Feedback, FeedbackFile, Mark, Undo
from training import SourceError
from training.alerts import (
    exclude_real,
    incidents_of_file,
    most_severe,
    raised_alerts,
    read_feedback,
)
from training.report import alert_lines
from training.sources.series import LabelledSeries, TimeRange

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


METRIC = "AWS/EC2 CPUUtilization InstanceId=i-0123 Average 300"


def mark(metric: str, first: int, last: int) -> Mark:
    return Mark("id", metric, int(TIMES[first]), int(TIMES[last]), 1.0, 2.0, 0.0, 1.0)


def saved(path: Path, *feedback: Feedback) -> Path:
    path.write_bytes(msgspec.json.encode(FeedbackFile(feedback=list(feedback))))
    return path


def test_only_what_is_said_to_be_real_is_left_out(series: LabelledSeries, tmp_path: Path) -> None:
    path = saved(
        tmp_path / "feedback.json",
        Feedback("a", "real", "page", 0, marks=[mark(METRIC, 40, 44)]),
        Feedback("b", "fine", "page", 0, marks=[mark(METRIC, 60, 64)]),
        Feedback("c", "real", "page", 0, marks=[mark(METRIC, 80, 84)], undone=Undo("page", 1)),
        Feedback("d", "real", "page", 0, marks=[Mark("e", METRIC, 0, 1, 1.0, 2.0, 0.0, 1.0)]),
    )
    text = StringIO()
    real = read_feedback(path)
    excluded = exclude_real(series, real[METRIC], Console(file=text))
    assert excluded.left_out.tolist() == [[TIMES[40], TIMES[44]]]
    assert text.getvalue() == "Feedback: 1 real incident kept out of training, 1 at other times\n"


def test_a_file_has_the_feedback_of_its_name_or_of_the_only_metric() -> None:
    web, api = [TimeRange(1, 2)], [TimeRange(3, 4)]
    replayed = {"File web () Average 300": [], "File web Average 300": web, METRIC: api}
    assert incidents_of_file(replayed, "web") == web
    assert incidents_of_file({METRIC: api}, "export") == api
    assert incidents_of_file({}, "export") == []
    with pytest.raises(SourceError, match=f"other metrics than export:\n  {METRIC}\n"):
        incidents_of_file(replayed, "export")
    with pytest.raises(SourceError, match="other metrics than export:\n  File web Average 300"):
        incidents_of_file({"File web Average 300": web}, "export")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"timestamp,value", "is not a file of feedback, as a replay's page saves it"),
        (b'{"version": 1, "feedback": [{"verdict": "maybe"}]}', "is not a file of feedback"),
        (None, r"feedback\.json can't be read: No such file"),
    ],
)
def test_a_file_of_something_else_is_refused(content, message: str, tmp_path: Path) -> None:
    path = tmp_path / "feedback.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_feedback(path)

"""The alerts that a detector raised, as people read them, and past incidents.

Past incidents are kept out of training: some are proposed, as they look unusual; others are known
by the feedback that people gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.aws.errors import InvalidMetricError
from ops_anomaly.detection import untrained
from ops_anomaly.detection.timeline import counted, utc
from ops_anomaly.watcher.feedback import FeedbackFile, MetricFeedback, by_metric
from training import SourceError
from training.sources.series import EXCLUDE, LabelledSeries, TimeRange, exclude

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from rich.console import Console

    from ops_anomaly.detection.types import Alert, Detection

MAX_SHOWN = 10
"""Alerts that a list shows; more than that nobody reads."""

MAX_PROPOSALS = 5
MIN_SEVERITY = 2 / 3
"""Of a score that is twice the threshold; anything less is unusual, but hardly an incident."""


@dataclass(frozen=True)
class RaisedAlert:
    """An alert, and what its message would say.

    Attributes
    ----------
    positions : Alert
        Its readings in the part of the series that was evaluated.
    first, last : int
        Times of its first and last anomalous reading, milliseconds since 1970.
    lasted : float
        From the first reading to the end of the last one's period, milliseconds.
    value, expected : float
        Of its first reading; NaN where nothing was expected.
    severity : float
        Of its most anomalous reading, 0 to 1; 0.5 is barely an anomaly.
    reason : str
        Why it was raised, in plain words.
    is_known : bool
        Whether it reaches into a labelled window or an excluded range.
    """

    positions: Alert
    first: int
    last: int
    lasted: float
    value: float
    expected: float
    severity: float
    reason: str
    is_known: bool

    @property
    def exclusion(self) -> str:
        """What keeps its readings out of training, as the command line takes it."""
        return f"{EXCLUDE} {utc(self.first)} {utc(self.last)}"


def raised_alerts(series: LabelledSeries, detection: Detection) -> list[RaisedAlert]:
    """Return the alerts of a detection of a series, in order of time."""
    return [raised_alert(series, detection, each) for each in detection.alerts]


def raised_alert(series: LabelledSeries, detection: Detection, alert: Alert) -> RaisedAlert:
    """Return one alert of a detection of a series."""
    first, last = int(series.times[alert.start]), int(series.times[alert.end])
    return RaisedAlert(
        positions=alert,
        first=first,
        last=last,
        lasted=last - first + series.series.step,
        value=float(series.values[alert.start]),
        expected=float(detection.expected[alert.start]),
        severity=float(detection.severity[alert.peak]),
        reason=detection.reasons.get(alert.start, ""),
        is_known=bool(series.in_window[alert.start : alert.end + 1].any()),
    )


def most_severe(alerts: Iterable[RaisedAlert], count: int = MAX_SHOWN) -> list[RaisedAlert]:
    """Return so many alerts at most, the most severe first; of equals, the earlier one."""
    return sorted(alerts, key=lambda each: (-each.severity, each.first))[:count]


def propose_exclusions(series: LabelledSeries, cut: int) -> list[RaisedAlert]:
    """Return what looks like an incident in the training part, the most severe first.

    A detector without a model scores that part from its beginning, each reading by those before
    it; nothing is proposed while it warms up. Known incidents are not proposed again.

    Parameters
    ----------
    cut : int
        Where the training part ends.
    """
    part = series.part(0, cut)
    alerts = raised_alerts(part, untrained().detect(part.series))
    return most_severe(
        (each for each in alerts if each.severity >= MIN_SEVERITY and not each.is_known),
        MAX_PROPOSALS,
    )


RealIncidents = Mapping[str, Sequence[TimeRange]]
"""When people said that incidents were real, by the text of their metric."""


def read_feedback(path: Path) -> RealIncidents:
    """Read when incidents were real; see `read_marks`.

    What was fine, snoozed or taken back is no reason to leave anything out.
    """
    return {
        metric: [TimeRange(mark.start, mark.stop) for mark in said.real]
        for metric, said in read_marks(path).items()
    }


def read_marks(path: Path) -> dict[str, MetricFeedback]:
    """Read the feedback that was saved from a page, or that a stack keeps, by metric.

    Raises
    ------
    SourceError
        If the file can't be read, or is something else.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}") from error
    return decode_marks(data, str(path))


def decode_marks(data: bytes, origin: str) -> dict[str, MetricFeedback]:
    """Return the feedback of a file, by metric; `SourceError` if it is something else."""
    try:
        return by_metric(msgspec.json.decode(data, type=FeedbackFile).feedback)
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{origin} is not a file of feedback, as a replay's page saves it: {error}"
        ) from error


def incidents_of_file(real: RealIncidents, name: str) -> Sequence[TimeRange]:
    """Return the incidents of a series that was read from a file.

    Parameters
    ----------
    name
        Of the file without its suffix: a replay of files names metrics so. Where all feedback is of
        one metric of CloudWatch, the file is taken to be an export of it.

    Raises
    ------
    SourceError
        If there is feedback, but of several metrics or another file.
    """
    named = [metric for metric in real if file_of(metric) == name]
    if not named and (len(real) > 1 or any(map(file_of, real))):
        metrics = "".join(f"\n  {metric}" for metric in sorted(real))
        raise SourceError(f"The feedback is of other metrics than {name}:{metrics}")
    return [each for metric in named or real for each in real[metric]]


def file_of(metric: str) -> str | None:
    """Return the name of the file that a replay took for a metric; None of CloudWatch's."""
    try:
        parsed = Metric.parse(metric)
    except InvalidMetricError:
        return None
    return parsed.name if parsed.namespace == "File" else None


def exclude_real(
    series: LabelledSeries, incidents: Sequence[TimeRange], console: Console
) -> LabelledSeries:
    """Return the series with incidents left out, as far as it reaches, and print how many."""
    reached = [
        each
        for each in incidents
        if ((series.times >= each.first) & (series.times <= each.last)).any()
    ]
    console.print(
        f"Feedback: {counted(len(reached), 'real incident')} kept out of training"
        + (f", {len(incidents) - len(reached)} at other times" if reached != incidents else "")
    )
    return exclude(series, reached)

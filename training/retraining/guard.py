"""The guard: whether a newly trained model may replace the live one.

Refused are a model trained on less data than before, on a broken metric, in an incident, or on what
looks like an incident that nobody has marked: what a model has been trained on is ordinary to it.
The live model finds those, in the readings since it was trained. Otherwise both are evaluated on
the same last days: the share of injected faults that each finds at the budget of alerts, and how
many alerts it would have raised there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ops_anomaly.detection import untrained
from ops_anomaly.detection.formatting import number
from ops_anomaly.detection.timeline import utc
from ops_anomaly.detection.types import SENSITIVITY, Series
from ops_anomaly.watcher.feedback import Mark, is_like
from training.alerts import RaisedAlert, most_severe, raised_alerts
from training.backtest import MIN_LENGTH, SENSITIVITIES, false_alarms, run_backtest
from training.candidates import Candidate
from training.comparison import evaluate_candidate
from training.sources.series import DAY_MS, MINUTE_MS, LabelledSeries, no_ranges

if TYPE_CHECKING:
    from pathlib import Path

    from ops_anomaly.detection.artifact import Manifest
    from ops_anomaly.detection.types import Detection, Detector, Integers, Mask
    from training.backtest import Backtest, Plan
    from training.comparison import Evaluation

LESS_DATA = 0.1
"""Data is less than before if so large a share of it is missing, or of its length. The newest
periods come late, and an agent that restarts leaves a gap: neither is a reason to refuse."""

MIN_PRESENT = 0.6
"""Share of its readings that a metric needs for its first model."""

SILENT_MS = DAY_MS
"""A metric without a reading for so long at the end has stopped."""

STUCK_MS = DAY_MS // 4
"""A value that repeats for so long, twice as long as any other in the series, is stuck, unless the
metric mostly has that value."""

RESCALED = 100.0
"""Readings are of another unit if those of the last day are so many times as large, or as small."""

INCIDENT_SENSITIVITY = min(SENSITIVITIES)
INCIDENT_MS, INCIDENT_READINGS = 20 * MINUTE_MS, 2
INCIDENT_SEVERITY = 0.53
"""An alert looks like an incident if it is raised even at the lowest sensitivity (one false alert
in ten weeks), lasts so long and for so many readings, and is somewhat beyond its threshold; unless
it is the new normal, or has a precedent. But for the readings, which one is too few of, all were
chosen together on retrainings of simulated and real metrics; see docs/benchmarks.md."""

NEW_NORMAL = 0.5
"""What began a day ago or earlier is the new normal if the last day differs from the day that
followed by less than this share of what it differs from the day before."""

PRECEDENT = 0.25
"""Readings have a precedent if they differ from one of the seven days before by no more than this
share of what they differ from all of them: a job once a week."""

FEWER_FAULTS = 0.15
MORE_ALERTS = 3.0
"""Margins against noise: the share of the injected faults found may be so much smaller, the alerts
a week so many more. Of models of the same metric that were trained 1 to 7 days apart, 2 to 3 % find
fewer faults by more than that, and none raises more alerts (`python -m benchmarks guard`)."""


@dataclass(frozen=True)
class Extent:
    """How much data a model was trained on.

    Attributes
    ----------
    readings : int
    days : float
        From the first to the last one.
    present : float
        Share of the periods from the first to the last that have a reading.
    """

    readings: int
    days: float
    present: float

    @classmethod
    def of(cls, readings: int, first: int, last: int, period: float) -> Extent:
        """Return the extent of readings from first to last, at a period; all milliseconds."""
        length = last - first + period
        return cls(readings, length / DAY_MS, readings * period / length)


@dataclass(frozen=True)
class Figures:
    """How a model does on the last days.

    Attributes
    ----------
    kind : str
        Of its detector.
    faults_found : float or None
        Share of the injected faults, each kind weighing the same; None where none could be tried.
    alerts_a_week : float
        Without those of known incidents, and those like what people said was fine.
    sensitivity : float or None
        False alerts a week that it was asked for; None: its own threshold.
    """

    kind: str
    faults_found: float | None
    alerts_a_week: float
    sensitivity: float | None


Cause = Literal[
    "in incident",
    "too few readings",
    "never enough",
    "gaps",
    "stopped",
    "less data",
    "stuck",
    "rescaled",
    "unmarked incident",
    "fewer faults",
    "more alerts",
]
"""Why a model is refused; `reasons.REASONS` says what to do about each."""


class Refusal(NamedTuple):
    """Why a model is refused.

    Attributes
    ----------
    reason : str
        In plain words.
    """

    cause: Cause
    reason: str


@dataclass(frozen=True)
class Verdict:
    """Whether a new model may replace the live one, and why.

    Attributes
    ----------
    reason : str
        In plain words.
    cause : Cause or None
        None where it may.
    new, live : Figures or None
        None where a model was not evaluated: it was refused for its data, or none is live.
    """

    reason: str
    cause: Cause | None = None
    new: Figures | None = None
    live: Figures | None = None

    @property
    def publish(self) -> bool:
        """Whether it may."""
        return self.cause is None


ENDS = ("first", "last")
"""Keys of a manifest's training data: times of its readings."""


@dataclass(frozen=True)
class LiveModel:
    """The live model as it was published.

    Attributes
    ----------
    detector : Detector
        At the end of what it was trained on.
    """

    detector: Detector
    manifest: Manifest

    @property
    def trained_until(self) -> int | None:
        """Time of the last reading that it was trained on, milliseconds, where it says so."""
        return milliseconds_of(self.manifest.training_data.get("last"))

    def is_outdated(self, until: int) -> bool:
        """Return whether a time, milliseconds, is later than it by more than it was trained on.

        If so, it is too old to say what is less than before, or unusual.
        """
        first, last = (milliseconds_of(self.manifest.training_data.get(key)) for key in ENDS)
        return first is not None and last is not None and until - last > last - first

    def extent(self, period: int) -> Extent | None:
        """Return how much it was trained on; None where its manifest does not say."""
        data = self.manifest.training_data
        first, last = (milliseconds_of(data.get(key)) for key in ENDS)
        readings = data.get("readings")
        if first is None or last is None or not isinstance(readings, int):
            return None
        return Extent.of(readings, first, last, period)


def milliseconds_of(text: Any) -> int | None:
    """Return a time of a manifest, milliseconds since 1970; None if it is not one."""
    try:
        return round(1000 * datetime.fromisoformat(text).timestamp())
    except (TypeError, ValueError, OverflowError):
        return None


def data_fault(
    series: LabelledSeries,
    period: int,
    until: int,
    live: LiveModel | None,
    *,
    in_incident: bool = False,
    asked: int | None = None,
) -> Refusal | None:
    """Return why a series is no good to train on; None where it is.

    Parameters
    ----------
    period : int
        Of the metric, milliseconds.
    until : int
        The end of the time that the series was read for, milliseconds.
    live
        None where there is no live model.
    in_incident
        Whether the metric has an open incident.
    asked : int or None
        How long a time was read, milliseconds: no longer one is expected.
    """
    if in_incident:
        reason = "The metric is in an incident: it is trained again when that is over"
        return Refusal("in incident", reason)
    times, ordinary = series.times, series.normal
    if asked and asked < 2 * MIN_LENGTH * period:
        reason = (
            f"CloudWatch keeps {asked // period:,} readings of such a period, and a model needs "
            f"{2 * MIN_LENGTH}"
        )
        return Refusal("never enough", reason)
    if len(series) < 2 * MIN_LENGTH:
        reason = f"Too few readings: {len(series):,}, and {2 * MIN_LENGTH} are needed"
        return Refusal("too few readings", reason)
    if len(ordinary) < MIN_LENGTH:
        reason = f"Too few readings outside of incidents: {len(ordinary):,} of {len(series):,}"
        return Refusal("too few readings", reason)
    if until - times[-1] > max(SILENT_MS, 2 * period):
        reason = f"The metric has stopped: its last reading is of {utc(int(times[-1]))}"
        return Refusal("stopped", reason)
    live = None if live and live.is_outdated(until) else live
    since = live.trained_until if live else None
    extent = Extent.of(len(series), int(times[0]), int(times[-1]), period)
    before = live.extent(period) if live else None
    if before and asked:
        before = replace(before, days=min(before.days, asked / DAY_MS))
    return (
        less_data(extent, before)
        or stuck(ordinary, int(times[0]) if since is None else since)
        or rescaled(ordinary)
    )


def less_data(new: Extent, live: Extent | None) -> Refusal | None:
    """Return in what a series is less than before, if it is."""
    if live is None:
        if new.present >= MIN_PRESENT:
            return None
        reason = f"Too many gaps: {share(new.present)} of the readings are there"
        return Refusal("gaps", reason)
    if new.present < live.present - LESS_DATA:
        reason = (
            f"Less data: {share(new.present)} of the readings are there, and "
            f"{share(live.present)} were for the live model"
        )
        return Refusal("less data", reason)
    if new.days < (1 - LESS_DATA) * live.days:
        reason = (
            f"Less data: {number(new.days, 3)} days, and the live model was trained on "
            f"{number(live.days, 3)}"
        )
        return Refusal("less data", reason)
    return None


def stuck(series: Series, since: int) -> Refusal | None:
    """Return when a series was stuck at one value after a time, if it was, as it never was else."""
    times, values = series.times, series.values
    changes = np.flatnonzero(np.diff(values)) + 1
    if not len(changes):
        reason = f"The metric is constant: every reading is {number(float(values[0]))}"
        return Refusal("stuck", reason)
    starts = np.concatenate([[0], changes])
    ends = np.concatenate([changes, [len(values)]]) - 1
    lasted = times[ends] - times[starts]
    longest = int(np.where(times[ends] > since, lasted, -1).argmax())
    first, last = starts[longest], ends[longest]
    others = np.concatenate([values[:first], values[last + 1 :]])
    if (
        lasted[longest] < max(STUCK_MS, 2 * int(np.delete(lasted, longest).max()))
        or (others == values[first]).mean() >= 1 / 2
    ):
        return None
    reason = (
        f"The metric was stuck: every reading from {utc(int(times[first]))} to "
        f"{utc(int(times[last]))} is {number(float(values[first]))}"
    )
    return Refusal("stuck", reason)


def rescaled(series: Series) -> Refusal | None:
    """Return that the last readings are of another unit than the first half, if they are."""
    values = np.abs(series.values)
    parts = values[: len(values) // 2], values[series.times > series.times[-1] - DAY_MS]
    if not all(part.any() for part in parts):
        return None
    before, now = (np.quantile(part[part > 0], [0.25, 0.5, 0.75, 0.95]) for part in parts)
    factors = now / before
    if factors.min() < RESCALED and factors.max() > 1 / RESCALED:
        return None
    days = (series.times[-1] - series.times[0]) / DAY_MS
    reason = (
        f"The last day is of another size, about {number(float(now[1]), 3)} instead of "
        f"{number(float(before[1]), 3)}: has the unit changed? If that is meant, the metric is "
        f"trained again in {days:.0f} days at the latest"
    )
    return Refusal("rescaled", reason)


def share(part: float) -> str:
    """Return a share in per cent.

    Examples
    --------
    >>> share(0.256)
    '26 %'
    """
    return f"{100 * part:.0f} %"


def compare(
    new: Evaluation,
    backtest: Backtest,
    live: LiveModel | None,
    series: LabelledSeries,
    plan: Plan,
    fine: Sequence[Mark] = (),
) -> Verdict:
    """Decide by the last days, which are the test part of a plan.

    Parameters
    ----------
    new : Evaluation
        Of a candidate that was fitted on the part of the series before the test part.
    backtest : Backtest
        Of the same candidate, by the plan.
    series : LabelledSeries
        All that the new model is trained on; known incidents are left out.
    fine
        Anomalies that people said were fine: alerts like them do not count.
    """
    cut = len(series) - len(plan.part)
    measure = None if live and live.is_outdated(int(series.times[-1])) else live
    since = measure.trained_until if measure else None
    incident = unmarked_incident(
        series, measure, int(series.times[cut - 1]) if since is None else since, fine
    )
    if live is None:
        return verdict_of(
            incident,
            "The first model of this metric",
            figures_of(new, backtest, plan.part, fine),
        )
    _, detector = live.detector.without_history().update(series.part(0, cut).normal)
    evaluation = evaluate_candidate(Candidate(detector, save_nothing), plan.part)
    new, evaluation = at_same_sensitivity(new, evaluation, plan.part)
    if new.sensitivity != backtest.sensitivity:
        backtest = run_backtest(new.candidate.detector, plan, new.sensitivity)
    figures = figures_of(new, backtest, plan.part, fine)
    tried = run_backtest(detector, plan, evaluation.sensitivity)
    live_figures = figures_of(evaluation, tried, plan.part, fine)
    refusal = incident or worse_in(figures, live_figures)
    return verdict_of(refusal, no_worse(figures, live_figures), figures, live_figures)


def verdict_of(
    refusal: Refusal | None, otherwise: str, new: Figures | None = None, live: Figures | None = None
) -> Verdict:
    """Return the verdict of a refusal, or why there is none."""
    if refusal:
        return Verdict(refusal.reason, refusal.cause, new, live)
    return Verdict(otherwise, None, new, live)


def at_same_sensitivity(
    new: Evaluation, live: Evaluation, part: LabelledSeries
) -> tuple[Evaluation, Evaluation]:
    """Return both at the lower of their sensitivities: at that, both keep to the budget of alerts.

    One more alert of a week is enough for a model to have a lower one than its like.
    """
    if new.candidate.detector.has_sensitivity and live.candidate.detector.has_sensitivity:
        lower = min(new.sensitivity, live.sensitivity, key=lambda each: each or SENSITIVITY)
        new, live = (at_sensitivity(each, lower, part) for each in (new, live))
    return new, live


def at_sensitivity(each: Evaluation, sensitivity: float | None, part: LabelledSeries) -> Evaluation:
    """Return an evaluation at a sensitivity."""
    if each.sensitivity == sensitivity:
        return each
    detection = each.candidate.detector.detect(part.series, sensitivity)
    return replace(each, detection=detection, sensitivity=sensitivity)


def unmarked_incident(
    series: LabelledSeries, live: LiveModel | None, since: int, fine: Sequence[Mark]
) -> Refusal | None:
    """Return what looks like an incident, and was neither left out nor fine.

    Parameters
    ----------
    since : int
        What began before, milliseconds, the live model has been trained on already.
    """
    ordinary = replace(series, series=series.normal, windows=no_ranges(), left_out=no_ranges())
    least = max(INCIDENT_MS, INCIDENT_READINGS * ordinary.series.step)
    found = [
        alert
        for alert in alerts_at_least(ordinary, live, fine)
        if alert.first > since
        and alert.lasted >= least
        and alert.severity >= INCIDENT_SEVERITY
        and not is_new_normal(ordinary.series, alert.first)
        and not has_precedent(ordinary.series, alert.first, alert.last)
    ]
    if not found:
        return None
    [worst] = most_severe(found, 1)
    days = series.times[-1] - series.times[0]
    until = utc(max(alert.last for alert in found) + int(days))
    reason = (
        f"From {utc(worst.first)} to {utc(worst.last)} it looks like an incident "
        f"({worst.reason}), which the new model would take for ordinary: mark it as real or fine. "
        f"Unmarked, it is too old to be trained on from {until[:10]} on"
    )
    return Refusal("unmarked incident", reason)


def alerts_at_least(
    series: LabelledSeries, live: LiveModel | None, fine: Sequence[Mark]
) -> list[RaisedAlert]:
    """Return the alerts that even the lowest sensitivity raises.

    Those of the live model on the readings that it has not seen; where there is none, or one that
    keeps no time, those of a detector without a model, from the first reading on.
    """
    seen = live.detector.last_timestamp if live else None
    if live and seen is not None:
        begin, detector = int(np.searchsorted(series.times, seen, "right")), live.detector
    else:
        begin, detector = 0, untrained()
    if len(series) - begin < 2:  # that is no series yet
        return []
    part = series.part(begin, len(series))
    detection = detector.detect(part.series, INCIDENT_SENSITIVITY)
    return raised_alerts(part, without_fine(part, detection, fine))


def is_new_normal(series: Series, since: int) -> bool:
    """Return whether the last day is like the day that began at a time, not like that before it."""
    last = series.times >= max(since + DAY_MS, series.times[-1] - DAY_MS)
    if not last.any():
        return False
    ago = (series.times[last] - since) // DAY_MS * DAY_MS
    return difference(series, last, ago) < NEW_NORMAL * difference(series, last, ago + DAY_MS)


def has_precedent(series: Series, first: int, last: int) -> bool:
    """Return whether readings are like those of one of the seven days before."""
    here = (series.times >= first) & (series.times <= last)
    reached = min((first - int(series.times[0])) // DAY_MS, 7)
    each = [difference(series, here, days * DAY_MS) for days in range(1, reached + 1)]
    return bool(each) and min(each) <= PRECEDENT * float(np.mean(each))


def difference(series: Series, which: Mask, ago: Integers | int) -> float:
    """Return how much readings differ from those so many milliseconds before, on average."""
    before = np.interp(series.times[which] - ago, series.times, series.values)
    return float(np.abs(series.values[which] - before).mean())


def without_fine(series: LabelledSeries, detection: Detection, fine: Sequence[Mark]) -> Detection:
    """Return a detection without the readings, and the alerts, that are like what was fine."""
    if not fine:
        return detection
    flags = detection.is_anomaly & ~is_like(series.series, detection, fine)
    alerts = [each for each in detection.alerts if flags[each.start : each.end + 1].any()]
    return replace(detection, is_anomaly=flags, alerts=alerts)


def figures_of(
    evaluation: Evaluation, backtest: Backtest, part: LabelledSeries, fine: Sequence[Mark]
) -> Figures:
    """Return how a model does on the last days."""
    alerts = false_alarms(part, without_fine(part, evaluation.detection, fine))
    return Figures(
        evaluation.candidate.kind,
        backtest.mean_share,
        7 * alerts / part.days,
        evaluation.sensitivity,
    )


def worse_in(new: Figures, live: Figures) -> Refusal | None:
    """Return in what the new model is worse than the live one, beyond noise."""
    found, before = new.faults_found, live.faults_found
    if found is not None and before is not None and found < before - FEWER_FAULTS:
        reason = (
            f"It finds {share(found)} of the injected faults, and the live model {share(before)}"
        )
        return Refusal("fewer faults", reason)
    if new.alerts_a_week > live.alerts_a_week + MORE_ALERTS:
        reason = (
            f"It would have raised {new.alerts_a_week:.1f} alerts a week in the last days, and the "
            f"live model {live.alerts_a_week:.1f}"
        )
        return Refusal("more alerts", reason)
    return None


def no_worse(new: Figures, live: Figures) -> str:
    """Return that the new model is no worse, in figures."""
    alerts = f"{new.alerts_a_week:.1f} alerts a week (live: {live.alerts_a_week:.1f})"
    if new.faults_found is None or live.faults_found is None:
        return f"No worse than the live model: {alerts}"
    return (
        f"No worse than the live model: {share(new.faults_found)} of the injected faults found "
        f"(live: {share(live.faults_found)}), {alerts}"
    )


def save_nothing(folder: Path) -> None:
    """Save no estimator: of a live model there is none."""

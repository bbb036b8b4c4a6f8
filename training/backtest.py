"""The backtest: which injected faults a detector finds, how fast, and at what price in alerts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.types import EVENT_MS, FLOAT32_MAX, Detection, Detector, Series
from training import SourceError
from training.sources.series import DAY_MS, MINUTE_MS, LabelledSeries

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers, Mask

    Fault = Callable[[Floats, slice, float, int], Floats]
    """Values of a series (n,), NaN in known incidents; where k readings of it are; a height in the
    series' unit; readings a day -> (k,) the faulty readings."""

UNLIKE = 3.0
"""A pattern is at the wrong time if it differs from the readings here so many times as much as
those at the same time of the day before."""


@dataclass(frozen=True)
class FaultKind:
    """A kind of fault, and the sizes at which it is tried.

    Attributes
    ----------
    length : int or None
        Readings that it takes; None where that is its size.
    sizes : tuple of float
        In spreads of the series, or in readings.
    """

    name: str
    fault: Fault
    length: int | None
    sizes: tuple[float, ...]

    def readings(self, size: float) -> int:
        """Return how many readings it takes at a size."""
        return int(size) if self.length is None else self.length

    def describe(self, size: float, step: float) -> str:
        """Return a size in words: spreads, or how long it lasts at a step in milliseconds."""
        if self.length is None:
            return duration(step * self.readings(size))
        return f"{size:g} spread{'' if size == 1 else 's'}"


def raised(values: Floats, where: slice, height: float, day: int) -> Floats:
    """Raise the readings."""
    return values[where] + height


def lowered(values: Floats, where: slice, height: float, day: int) -> Floats:
    """Lower the readings."""
    return values[where] - height


def drifting(values: Floats, where: slice, height: float, day: int) -> Floats:
    """Raise the readings more and more, the last one by the whole height."""
    length = where.stop - where.start
    return values[where] + height * np.linspace(1 / length, 1.0, length)


def stuck(values: Floats, where: slice, height: float, day: int) -> Floats:
    """Repeat the reading before."""
    return np.full(where.stop - where.start, values[where.start - 1])


def misplaced(values: Floats, where: slice, height: float, day: int) -> Floats:
    """Repeat the subsequence of the day before that is least like the readings here.

    Where the same time of the day before differs nearly as much, there is no daily pattern that
    could come at the wrong time, and nothing is changed.
    """
    here, yesterday = values[where], where.start - day
    if yesterday < 0 or day < 2 * len(here):
        return here
    subsequences = np.lib.stride_tricks.sliding_window_view(
        values[yesterday : where.start], len(here)
    )
    distances = np.sqrt(((subsequences - here) ** 2).mean(axis=1))
    farthest = int(np.nan_to_num(distances).argmax())  # a known incident is not a pattern
    return subsequences[farthest] if distances[farthest] >= UNLIKE * distances[0] else here


FAULT_KINDS = (
    FaultKind("spike", raised, 1, (1.0, 2.0, 4.0)),
    FaultKind("drop", lowered, 6, (0.5, 1.0, 2.0)),
    FaultKind("level shift", raised, 36, (0.5, 1.0, 2.0)),
    FaultKind("flatline", stuck, None, (12, 24, 72)),
    FaultKind("wrong time", misplaced, None, (12, 24)),
    FaultKind("slow drift", drifting, 72, (0.5, 1.0, 2.0)),
)

LONGEST = max(kind.readings(size) for kind in FAULT_KINDS for size in kind.sizes)


@dataclass(frozen=True)
class Units:
    """The units of a series: its spread, and how many readings a day has."""

    spread: float
    day: int

    @classmethod
    def of(cls, series: LabelledSeries) -> Units:
        """Measure them on the readings outside of anomaly windows."""
        day = round(DAY_MS / series.series.step)
        return cls(spread_of(series.normal.values, day), day)


def spread_of(values: Floats, day: int) -> float:
    """Return the 5-95 % range, or the daily range where that is larger.

    A metric that is idle most of the time has hardly any 5-95 % range; nobody would feel a fault
    of that size. Where nearly all values are equal, a substitute is returned.

    Parameters
    ----------
    day : int
        Readings in a day.

    Examples
    --------
    >>> spread_of(np.arange(101.0), 101), spread_of(np.full(100, 2.0), 50)
    (98.0, 0.1)
    """
    if not values.size:
        return 1.0
    low, high = np.quantile(values, [0.05, 0.95])
    return float(
        max(high - low, daily_range(values, day))
        or 0.2 * (values.max() - values.min())
        or max(0.05 * np.abs(values).max(), 1e-9)
    )


def daily_range(values: Floats, day: int) -> float:
    """Return the median over whole days of each day's 1-99 % range; 0 without a day."""
    days = len(values) // day
    if not days:
        return 0.0
    by_day = values[: days * day].reshape(days, day)
    low, high = np.quantile(by_day, [0.01, 0.99], axis=1)
    return float(np.median(high - low))


def inject(kind: FaultKind, size: float, values: Floats, start: int, units: Units) -> Floats | None:
    """Return the faulty readings from `start` on, or None if the fault changes nothing.

    A series that is never negative stays so.
    """
    where = slice(start, start + kind.readings(size))
    floor = 0.0 if np.nanmin(values) >= 0.0 else -FLOAT32_MAX
    faulty = kind.fault(values, where, size * units.spread, units.day)
    faulty = np.clip(faulty, floor, FLOAT32_MAX)
    return None if np.array_equal(faulty, values[where]) else faulty


MIN_LENGTH = 300
"""Readings below which there is too little to fit on, or to evaluate by."""


def split(series: LabelledSeries, train_share: float) -> int:
    """Return the length of the training part; the rest is the test part.

    Raises
    ------
    SourceError
        If either part is too short.
    """
    cut = int(train_share * len(series))
    if min(cut, len(series) - cut) < MIN_LENGTH:
        raise SourceError(
            f"{series.name} has {len(series)} readings: {cut} to fit on and {len(series) - cut} to "
            f"evaluate by; each part needs {MIN_LENGTH}, so give more (from CloudWatch: --days), "
            "or another --train-share"
        )
    return cut


MAX_PLACES = 12
APART = 24
"""Readings between two places, at least."""

GRACE = 6
"""Readings after a fault in which an alert still counts for it."""


@dataclass(frozen=True)
class Injection:
    """A fault in its place.

    Attributes
    ----------
    start : int
        Its first reading, counted from the first one of the test part.
    values : (k,) float64
        The faulty readings.
    """

    kind: FaultKind
    size: float
    start: int
    values: Floats


@dataclass(frozen=True)
class Plan:
    """All the faults, each of which is tried alone: the same ones for all candidates.

    Attributes
    ----------
    part : LabelledSeries
        The test part.
    spread : float
        The unit of sizes, of the training part; see `spread_of`.
    places : (p,) int64
        Where faults begin, increasing; at some of them a kind may change nothing.
    lead : int
        So many readings before a fault are detected with it, so that alerts that were going on
        still are.
    """

    part: LabelledSeries
    seed: int
    spread: float
    places: Integers
    injections: list[Injection]
    lead: int


def plan_injections(
    series: LabelledSeries, cut: int, seed: int, max_places: int = MAX_PLACES
) -> Plan:
    """Choose places in the part of a series that begins at `cut`, and make the faults.

    No fault is in, or near, an anomaly window or a left-out range.
    """
    units, part = Units.of(series.part(0, cut)), series.part(cut, len(series))
    lead = int(EVENT_MS / part.series.step) + 1
    places = choose_places(part.in_window, lead, seed, max_places)
    values = np.where(series.in_window, np.nan, series.values)
    return Plan(
        part=part,
        seed=seed,
        spread=units.spread,
        places=places,
        injections=[
            Injection(kind, size, start, faulty)
            for start in places.tolist()
            for kind in FAULT_KINDS
            for size in kind.sizes
            if (faulty := inject(kind, size, values, cut + start, units)) is not None
        ],
        lead=lead,
    )


def choose_places(is_known: Mask, lead: int, seed: int, max_places: int = MAX_PLACES) -> Integers:
    """Draw places that have space for the longest fault, one from each of equal parts.

    Parameters
    ----------
    is_known : (n,) bool
        Readings of known incidents, which no fault may be near.

    Returns
    -------
    (p,) int64
        Increasing, `APART` readings apart at least; none where there is no space.
    """
    needed = lead + LONGEST + GRACE
    if len(is_known) < needed:
        return np.empty(0, np.int64)
    is_near = np.lib.stride_tricks.sliding_window_view(is_known, needed).any(axis=1)
    possible: Integers = np.flatnonzero(~is_near) + lead
    count = min(max_places, -(-len(possible) // (2 * APART)))
    edges = np.linspace(0, len(possible), count + 1).astype(np.int64)
    random = np.random.default_rng(seed)
    drawn = [
        random.integers(first, max(stop - APART, first + 1))
        for first, stop in pairwise(edges.tolist())
    ]
    return possible[np.array(drawn, np.int64)]


MIN_TRIED = 0.25
"""A kind of fault counts if it could be tried so often, against the one that was tried most."""


@dataclass(frozen=True)
class Trial:
    """A fault, and whether it was found.

    Attributes
    ----------
    delay_minutes : float or None
        From the fault's first reading to the alert; None where it was missed.
    """

    injection: Injection
    delay_minutes: float | None

    @property
    def is_found(self) -> bool:
        """Whether an alert was raised for it."""
        return self.delay_minutes is not None


@dataclass(frozen=True)
class Backtest:
    """How a detector did with injected faults, and without.

    Attributes
    ----------
    sensitivity : float or None
        The false alerts a week that were accepted; None: the detector's own threshold.
    alerts_a_week : float
        On the test part as it is, outside of known incidents.
    """

    sensitivity: float | None
    alerts_a_week: float
    trials: list[Trial]

    def of(self, kind: str, size: float | None = None) -> list[Trial]:
        """Return the trials of a kind of fault, of one size or all."""
        return [
            trial
            for trial in self.trials
            if trial.injection.kind.name == kind and size in {None, trial.injection.size}
        ]

    @property
    def shares(self) -> dict[str, float | None]:
        """Share found of each kind of fault; None where too few could be tried to count."""
        trials = {kind.name: self.of(kind.name) for kind in FAULT_KINDS}
        least = MIN_TRIED * max(map(len, trials.values()))
        return {
            name: share_found(tried) if len(tried) >= least else None
            for name, tried in trials.items()
        }

    @property
    def mean_share(self) -> float | None:
        """Mean of the shares, so that each kind weighs the same; None without a trial."""
        shares = [share for share in self.shares.values() if share is not None]
        return float(np.mean(shares)) if shares else None


def share_found(trials: list[Trial]) -> float | None:
    """Return which share of the faults was found; None of none."""
    return float(np.mean([trial.is_found for trial in trials])) if trials else None


def median_delay(trials: list[Trial]) -> float | None:
    """Return the median of the delays in minutes; None where nothing was found."""
    delays = [trial.delay_minutes for trial in trials if trial.delay_minutes is not None]
    return float(np.median(delays)) if delays else None


SENSITIVITIES = (0.1, 0.2, 1.0, 2.0)
"""False alerts a week to try, besides the usual ones."""


def try_sensitivities(
    detector: Detector, plan: Plan, usual: Backtest, on_done: Callable[[int, int], None]
) -> list[Backtest]:
    """Return the backtests of a detector at several sensitivities, and last the one it has.

    A kind of detector that has one threshold has the usual one only.

    Parameters
    ----------
    on_done
        Called before each sensitivity that is tried, with how many were, and how many will be.
    """
    if not detector.has_sensitivity:
        return [usual]
    others = [each for each in (*SENSITIVITIES, None) if each != usual.sensitivity]
    tried = []
    for done, each in enumerate(others):
        on_done(done, len(others))
        tried.append(run_backtest(detector, plan, each))
    return [*tried, usual]


def run_backtest(detector: Detector, plan: Plan, sensitivity: float | None = None) -> Backtest:
    """Try every fault of a plan, each alone.

    A fault is found if an alert starts in it, or within `GRACE` readings after it, at a reading
    that is not an anomaly to the same detector when the fault is not there.

    Parameters
    ----------
    detector
        With its history up to the test part.
    sensitivity
        Expected false alerts a week, instead of the detector's own threshold.
    """
    series = plan.part.series
    without_fault = detector.detect(series, sensitivity)
    trials, reached = [], 0
    for start, injections in groupby(plan.injections, lambda each: each.start):
        before = slice(reached, start - plan.lead)
        if before.stop > reached:
            _, detector = detector.update(series[before], sensitivity)
            reached = before.stop
        trials += [
            Trial(each, find(detector, plan, each, sensitivity, without_fault))
            for each in injections
        ]
    alerts = false_alarms(plan.part, without_fault)
    return Backtest(sensitivity, 7 * alerts / plan.part.days, trials)


def false_alarms(series: LabelledSeries, detection: Detection) -> int:
    """Return how many alerts have no anomalous reading in an anomaly window."""
    hits = detection.is_anomaly & series.in_window
    return sum(not hits[alert.start : alert.end + 1].any() for alert in detection.alerts)


def find(
    detector: Detector,
    plan: Plan,
    injection: Injection,
    sensitivity: float | None,
    without_fault: Detection,
) -> float | None:
    """Return after how many minutes a fault is found, or None, by a detector just before it."""
    begin = injection.start - plan.lead
    end = injection.start + len(injection.values)
    times = plan.part.times[begin : end + GRACE]
    values = plan.part.values[begin : end + GRACE].copy()
    values[plan.lead : end - begin] = injection.values
    for alert in detector.detect(Series(times, values), sensitivity).alerts:
        if alert.start >= plan.lead and not without_fault.is_anomaly[begin + alert.start]:
            return float(times[alert.start] - times[plan.lead]) / MINUTE_MS
    return None

"""The kinds of fault: each a function from a series, a place and a size to readings.

Where faults are put: the same places for all candidates.

What each sensitivity would mean: alerts a week, and faults found.

The backtest: which of the injected faults a detector finds, how fast, and at what price.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby, pairwise

import numpy as np
import numpy.typing as npt

from ops_anomaly.detection.contextual_forest import scale
from ops_anomaly.detection.types import (
    EVENT_MS,
    FLOAT32_MAX,
    Detection,
    Detector,
    FixedSensitivityError,
)
from training.evaluation import judge
from training.sources.series import Floats, Series

UNLIKE = 3.0
"""A pattern is at the wrong time if it is so many times as unlike what is here as the same time of
the day before is."""

Fault = Callable[[Floats, slice, float, int], Floats]
"""Values of a series (n,), NaN in known incidents; a place of k readings in it; a height in units
of the series; readings a day -> (k,) what to put there."""


@dataclass(frozen=True)
class Kind:
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


def raised(values: Floats, place: slice, height: float, day: int) -> Floats:
    """Raise the readings."""
    return values[place] + height


def lowered(values: Floats, place: slice, height: float, day: int) -> Floats:
    """Lower the readings."""
    return values[place] - height


def drifting(values: Floats, place: slice, height: float, day: int) -> Floats:
    """Raise the readings more and more, the last one by the whole height."""
    length = place.stop - place.start
    return values[place] + height * np.linspace(1 / length, 1.0, length)


def stuck(values: Floats, place: slice, height: float, day: int) -> Floats:
    """Repeat the reading before."""
    return np.full(place.stop - place.start, values[place.start - 1])


def misplaced(values: Floats, place: slice, height: float, day: int) -> Floats:
    """Repeat that run of the day before that is least like what is here.

    Where the same time of the day before is nearly as unlike, there is no daily pattern that could
    come at the wrong time, and nothing is changed.
    """
    here, yesterday = values[place], place.start - day
    if yesterday < 0 or day < 2 * len(here):
        return here
    runs = np.lib.stride_tricks.sliding_window_view(values[yesterday : place.start], len(here))
    unlike = np.sqrt(((runs - here) ** 2).mean(axis=1))
    most = int(np.nan_to_num(unlike).argmax())  # an incident is no pattern
    return runs[most] if unlike[most] >= UNLIKE * unlike[0] else here


FAULT_KINDS = (
    Kind("spike", raised, 1, (1.0, 2.0, 4.0)),
    Kind("drop", lowered, 6, (0.5, 1.0, 2.0)),
    Kind("level shift", raised, 36, (0.5, 1.0, 2.0)),
    Kind("flatline", stuck, None, (12, 24, 72)),
    Kind("wrong time", misplaced, None, (12, 24)),
    Kind("slow drift", drifting, 72, (0.5, 1.0, 2.0)),
)

LONGEST = max(kind.readings(size) for kind in FAULT_KINDS for size in kind.sizes)


@dataclass(frozen=True)
class Ruler:
    """The units of a series: its spread (5-95 % range), and how many readings a day has."""

    spread: float
    day: int


def inject(kind: Kind, size: float, values: Floats, start: int, ruler: Ruler) -> Floats | None:
    """Return what a fault makes of the readings from `start` on, or None if it changes nothing.

    A series that is never negative stays so.
    """
    place = slice(start, start + kind.readings(size))
    floor = 0.0 if np.nanmin(values) >= 0.0 else -FLOAT32_MAX
    faulty = kind.fault(values, place, size * ruler.spread, ruler.day)
    faulty = np.clip(faulty, floor, FLOAT32_MAX)
    return None if np.array_equal(faulty, values[place]) else faulty


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
        Its first reading, counted from the first one of the judged part.
    values : (k,) float64
        What its readings are instead.
    """

    kind: Kind
    size: float
    start: int
    values: Floats


@dataclass(frozen=True)
class Plan:
    """All the faults, each of which is tried alone.

    Attributes
    ----------
    part : Series
        The judged part.
    spread : float
        The unit of sizes: the 5-95 % range of the part fitted on.
    places : (p,) int64
        Where faults begin, increasing; at some of them a kind may change nothing.
    lead : int
        So many readings before a fault are judged with it, so that what was going on still is.
    """

    part: Series
    seed: int
    spread: float
    places: npt.NDArray[np.int64]
    injections: list[Injection]
    lead: int


def plan_injections(series: Series, cut: int, seed: int) -> Plan:
    """Choose places in the part of a series that begins at `cut`, and make the faults.

    Readings in anomaly windows, or left out, are neither changed nor near to what is.
    """
    fitted, part = series.part(0, cut), series.part(cut, len(series))
    ruler = Ruler(
        spread=scale(fitted.values[~fitted.in_window]),
        day=round(float(np.timedelta64(1, "D") / series.step)),
    )
    lead = int(np.timedelta64(EVENT_MS, "ms") / part.step) + 1
    places = choose_places(part.in_window, lead, seed)
    values = np.where(series.in_window, np.nan, series.values)
    return Plan(
        part=part,
        seed=seed,
        spread=ruler.spread,
        places=places,
        injections=[
            Injection(kind, size, start, faulty)
            for start in places.tolist()
            for kind in FAULT_KINDS
            for size in kind.sizes
            if (faulty := inject(kind, size, values, cut + start, ruler)) is not None
        ],
        lead=lead,
    )


def choose_places(is_known: npt.NDArray[np.bool_], lead: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw places with room for the longest fault, one from each of equal parts.

    Parameters
    ----------
    is_known : (n,) bool
        Readings of known incidents, which no fault may be near to.

    Returns
    -------
    (p,) int64
        Increasing, `APART` readings apart at least; none where there is no room.
    """
    room = lead + LONGEST + GRACE
    if len(is_known) < room:
        return np.empty(0, np.int64)
    is_near = np.lib.stride_tricks.sliding_window_view(is_known, room).any(axis=1)
    possible = np.flatnonzero(~is_near) + lead
    count = min(MAX_PLACES, -(-len(possible) // (2 * APART)))
    edges = np.linspace(0, len(possible), count + 1).astype(np.int64)
    random = np.random.default_rng(seed)
    drawn = [
        random.integers(first, max(stop - APART, first + 1))
        for first, stop in pairwise(edges.tolist())
    ]
    return possible[np.array(drawn, np.int64)]


ASKED = (0.2, 0.5, 1.0, 1.5)
"""False alerts a week to ask for."""


@dataclass(frozen=True)
class Sensitivity:
    """A backtest at a sensitivity.

    Attributes
    ----------
    asked : float or None
        False alerts a week; None stands for the threshold that the model comes with.
    """

    asked: float | None
    backtest: Backtest


def try_sensitivities(detector: Detector, plan: Plan, usual: Backtest) -> list[Sensitivity]:
    """Return the backtests of a detector at several sensitivities, and last the usual one.

    A kind of detector that has one threshold has that one only.
    """
    week = plan.part.readings_a_week
    try:
        thresholds = {asked: detector.threshold_for(asked, week) for asked in ASKED}
    except FixedSensitivityError:
        thresholds = {}
    return [
        *(
            Sensitivity(asked, run_backtest(detector, plan, threshold))
            for asked, threshold in thresholds.items()
        ),
        Sensitivity(None, usual),
    ]


MIN_TRIED = 0.25
"""A kind of fault counts if it could be tried so often, against the one that was tried most."""


@dataclass(frozen=True)
class Trial:
    """A fault, and what became of it.

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
    alerts_a_week : float
        On the judged part as it is, outside of known incidents.
    """

    threshold: float
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


def run_backtest(detector: Detector, plan: Plan, threshold: float | None = None) -> Backtest:
    """Try every fault of a plan, each alone.

    A fault is found if an alert starts in it, or within `GRACE` readings after it, at a reading
    that is no anomaly to the same detector when the fault is not there.

    Parameters
    ----------
    detector
        With its history up to the judged part.
    threshold
        Instead of the detector's own.
    """
    times, values = plan.part.timestamps, plan.part.values
    as_it_is = detector.detect(times, values, threshold)
    figures = judge(plan.part, as_it_is.is_anomaly, as_it_is.alerts)
    trials, reached = [], 0
    for start, injections in groupby(plan.injections, lambda each: each.start):
        before = slice(reached, start - plan.lead)
        if before.stop > reached:
            _, detector = detector.follow(times[before], values[before], threshold)
            reached = before.stop
        trials += [
            Trial(each, find(detector, plan, each, threshold, as_it_is)) for each in injections
        ]
    return Backtest(
        threshold=detector.threshold if threshold is None else threshold,
        alerts_a_week=7 * figures.false_alarms_a_day,
        trials=trials,
    )


def find(
    detector: Detector,
    plan: Plan,
    injection: Injection,
    threshold: float | None,
    as_it_is: Detection,
) -> float | None:
    """Return after how many minutes a fault is found, or None, by a detector just before it."""
    begin = injection.start - plan.lead
    end = injection.start + len(injection.values)
    times = plan.part.timestamps[begin : end + GRACE]
    values = plan.part.values[begin : end + GRACE].copy()
    values[plan.lead : end - begin] = injection.values
    for alert in detector.detect(times, values, threshold).alerts:
        if alert.start >= plan.lead and not as_it_is.is_anomaly[begin + alert.start]:
            return float((times[alert.start] - times[plan.lead]) / np.timedelta64(1, "m"))
    return None

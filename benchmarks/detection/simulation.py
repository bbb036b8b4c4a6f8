"""Simulated metrics, and the record of how a detector does in one setting of them.

Shapes that operators meet, at any period, reproducible by their random seed. A shape gives a curve,
which is what is usual at each time, and readings around it. Noise is partly white and partly slow
(it fades within half an hour), so that it is alike at any period. An alert counts as found if it
starts where nothing is flagged without the incident.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar
from zlib import crc32

import numpy as np

from benchmarks.detection.counting import HOUR_MS, whole_step
from benchmarks.detection.peers import flags_of, load
from ops_anomaly.detection.types import WEEK, Series
from training.sources.series import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detection, Floats, Integers, Mask

    Draw = Callable[[np.random.Generator, Floats, int], tuple[Floats, Floats]]
    """From a generator, hours since Monday's midnight (n,) and a period, to a curve and values."""

MONDAY = 1_704_067_200_000
"""2024-01-01T00:00Z, in milliseconds."""

PERIODS = {"10 s": 10_000, "1 min": MINUTE_MS, "5 min": 5 * MINUTE_MS, "1 h": HOUR_MS}

SLOW_NOISE = 0.5
"""Share of the slow part in the noise's deviation."""

FADING = 0.5
"""Hours."""


@dataclass(frozen=True)
class Metric:
    """A simulated metric.

    Attributes
    ----------
    shape : str
    series : Series
    curve : (n,) float64
        What is usual at each time.
    """

    shape: str
    series: Series
    curve: Floats

    def __len__(self) -> int:
        return len(self.series)

    def __getitem__(self, which: slice | Mask) -> Metric:
        return Metric(self.shape, self.series[which], self.curve[which])

    @property
    def times(self) -> Integers:
        """The readings' times (n,), milliseconds."""
        return self.series.times

    @property
    def values(self) -> Floats:
        """The readings' values (n,)."""
        return self.series.values

    @property
    def period(self) -> int:
        """Milliseconds between readings."""
        return whole_step(self.series)

    @property
    def noise(self) -> float:
        """Robust deviation of the values from the curve."""
        return 1.4826 * float(np.median(np.abs(self.values - self.curve)))

    @property
    def one_step_error(self) -> float:
        """Robust deviation of the steps from one reading to the next, beside those of the curve."""
        return 1.4826 * float(np.median(np.abs(np.diff(self.values - self.curve))))

    def position(self, days: float) -> int:
        """Return the position of the first reading `days` after the first one's midnight."""
        midnight = self.times[0] // DAY_MS * DAY_MS
        return int(np.searchsorted(self.times, midnight + round(days * DAY_MS)))

    def readings(self, duration: int) -> int:
        """Return how many readings `duration` ms have, at least one."""
        return max(round(duration / self.period), 1)

    def during(self, first: int, duration: int) -> slice:
        """Return the positions of what lasts `duration` ms from `first` on, at least one."""
        return slice(first, first + self.readings(duration))

    def with_values(self, part: slice, values: Floats | float) -> Metric:
        """Return a copy with other values there."""
        changed = self.values.copy()
        changed[part] = values
        return replace(self, series=Series(self.times, changed))


def slow(rng: np.random.Generator, n: int, period: int, fading: float = FADING) -> Floats:
    """Return autoregressive noise of unit deviation (n,) that fades within so many hours."""
    keep = float(np.exp(-period / (fading * HOUR_MS)))
    shocks = rng.normal(size=n) * np.sqrt(1 - keep**2)
    noise, level = np.empty(n), float(rng.normal())
    for i, shock in enumerate(shocks.tolist()):
        level = keep * level + shock
        noise[i] = level
    return noise


def noise(rng: np.random.Generator, n: int, period: int) -> Floats:
    """Return noise of unit deviation (n,), partly white and partly slow."""
    white = np.sqrt(1 - SLOW_NOISE**2)
    mixed: Floats = white * rng.normal(size=n) + SLOW_NOISE * slow(rng, n, period)
    return mixed


def day_curve(hours: Floats, amplitude: float = 0.6) -> Floats:
    """Return a load curve of mean 1: quiet at 3:00, busiest in the afternoon."""
    angle = 2 * np.pi * (hours - 9) / 24
    return 1 + amplitude * (0.9 * np.sin(angle) + 0.1 * np.sin(2 * angle + 0.5))


def is_weekend(hours: Floats) -> Mask:
    """Return which hours since a Monday (n,) are on a weekend."""
    return hours % 168 >= 120


def seasonal(weekend: float, deviation: float = 0.04) -> Draw:
    """Daily traffic; weekends at a share of weekdays."""

    def draw(rng: np.random.Generator, hours: Floats, period: int) -> tuple[Floats, Floats]:
        curve = 100 * day_curve(hours) * np.where(is_weekend(hours), weekend, 1.0)
        values = curve * (1 + deviation * noise(rng, len(hours), period))
        return curve, np.round(np.maximum(values, 0), 2)

    return draw


def heavy(rng: np.random.Generator, hours: Floats, period: int) -> tuple[Floats, Floats]:
    """Daily latency whose noise has heavy tails (Student's t with three degrees)."""
    curve = 100 * day_curve(hours, 0.3)
    tails = rng.standard_t(3, len(hours)) / np.sqrt(3)
    values = curve * (1 + 0.05 * tails + 0.02 * slow(rng, len(hours), period))
    return curve, np.round(np.maximum(values, 0), 2)


def bursts(rng: np.random.Generator, hours: Floats, period: int) -> tuple[Floats, Floats]:
    """Daily traffic with a burst of 5 to 30 minutes some three times a day."""
    curve, values = seasonal(1.0)(rng, hours, period)
    lift = np.zeros(len(hours))
    span = hours[-1] - hours[0]
    for start in hours[0] + span * rng.random(rng.poisson(3 * span / 24)):
        length = rng.uniform(5, 30) / 60
        overlap = np.minimum(hours + period / HOUR_MS, start + length) - np.maximum(hours, start)
        lift += rng.lognormal(-0.7, 0.3) * np.clip(overlap * HOUR_MS / period, 0, 1)
    return curve, np.round(values * (1 + lift), 2)


def counts(rng: np.random.Generator, hours: Floats, period: int) -> tuple[Floats, Floats]:
    """Count requests: Poisson, some 20 a minute or 60 a reading at most."""
    curve = min(20 * period / MINUTE_MS, 60.0) * day_curve(hours)
    return curve, rng.poisson(curve).astype(np.float64)


def sparse(rng: np.random.Generator, hours: Floats, period: int) -> tuple[Floats, Floats]:
    """Count errors: nearly always none."""
    curve = np.full(len(hours), 0.05)
    return curve, rng.poisson(curve).astype(np.float64)


def idle(rng: np.random.Generator, hours: Floats, period: int) -> tuple[Floats, Floats]:
    """CPU of an idle host, in steps of 0.1 per cent."""
    curve = np.full(len(hours), 1.2)
    return curve, np.round(np.maximum(curve + 0.07 * noise(rng, len(hours), period), 0), 1)


@dataclass(frozen=True)
class Nightly:
    """A job that runs every night, never at quite the same time nor for quite as long.

    Attributes
    ----------
    start, lasting : float
        Hours; it starts up to `DELAY` later, and takes up to `STRETCH` longer or shorter.
    base, work : float
        Level without it, and what it adds.
    """

    start: float
    lasting: float
    base: float
    work: float

    DELAY: ClassVar[float] = 0.25
    STRETCH: ClassVar[float] = 0.2

    @property
    def longest(self) -> float:
        """Hours from the earliest start to the latest end."""
        return self.DELAY + (1 + self.STRETCH) * self.lasting

    def running(self, rng: np.random.Generator, hours: Floats, period: int) -> Floats:
        """Return the share of each reading's period in which it runs (n,)."""
        share = np.zeros(len(hours))
        for day in range(int(hours[0] // 24), int(hours[-1] // 24) + 1):
            start = 24 * day + self.start + self.DELAY * rng.random()
            stop = start + self.lasting * rng.uniform(1 - self.STRETCH, 1 + self.STRETCH)
            near = slice(*np.searchsorted(hours, (start - 1.0, stop)))
            overlap = np.minimum(hours[near] + period / HOUR_MS, stop) - np.maximum(
                hours[near], start
            )
            share[near] = np.clip(overlap * HOUR_MS / period, 0, 1)
        return share

    def usually(self, hours: Floats) -> Mask:
        """Return where it runs as a rule (n,)."""
        since = hours % 24 - self.start
        return (since >= 0) & (since < self.lasting)


JOBS = {"job": Nightly(2.0, 1.0, 10.0, 50.0), "backup": Nightly(3.5, 1.5, 20.0, 90.0)}


def job(rng: np.random.Generator, hours: Floats, period: int) -> tuple[Floats, Floats]:
    """CPU with a job every night at two, for an hour."""
    nightly = JOBS["job"]
    curve = nightly.base + nightly.work * nightly.usually(hours)
    level = nightly.base + nightly.work * nightly.running(rng, hours, period)
    return curve, np.round(level * (1 + 0.05 * noise(rng, len(hours), period)), 2)


def backup(rng: np.random.Generator, hours: Floats, period: int) -> tuple[Floats, Floats]:
    """Disk traffic of a day, and a backup at 3:30 for an hour and a half."""
    nightly = JOBS["backup"]
    day = nightly.base * day_curve(hours)
    curve = day + nightly.work * nightly.usually(hours)
    level = day + nightly.work * nightly.running(rng, hours, period)
    values = level * (1 + 0.08 * noise(rng, len(hours), period))
    return curve, np.round(np.maximum(values, 0), 2)


def steady(rng: np.random.Generator, hours: Floats, period: int) -> tuple[Floats, Floats]:
    """Nearly constant: a temperature, or the free space of a disk."""
    curve = np.full(len(hours), 50.0)
    return curve, np.round(curve + 0.05 * noise(rng, len(hours), period), 2)


def percent(rng: np.random.Generator, hours: Floats, period: int) -> tuple[Floats, Floats]:
    """Utilisation: a day, and wandering within hours, from 0 to 100."""
    curve = 55 * day_curve(hours, 0.25)
    wandering = 4 * slow(rng, len(hours), period, fading=3.0)
    values: Floats = curve + wandering + rng.normal(size=len(hours))
    return curve, np.round(np.minimum(np.maximum(values, 0.0), 100.0), 2)


SHAPES: dict[str, Draw] = {
    "daily": seasonal(1.0),
    "weekly 60": seasonal(0.6),
    "weekly 30": seasonal(0.3),
    "heavy": heavy,
    "bursts": bursts,
    "counts": counts,
    "sparse": sparse,
    "idle": idle,
    "job": job,
    "backup": backup,
    "steady": steady,
    "percent": percent,
}


def simulate(shape: str, period: int, days: float, seed: int, start: float = 0.0) -> Metric:
    """Simulate a metric.

    Parameters
    ----------
    shape : str
        A key of `SHAPES`.
    period : int
        Milliseconds between readings.
    days : float
        Length.
    seed : int
    start : float
        Days after a Monday's midnight.

    Examples
    --------
    >>> len(simulate("daily", HOUR_MS, 2, seed=0).values)
    48
    """
    rng = np.random.default_rng([crc32(shape.encode()), period, seed])
    first = MONDAY + round(start * DAY_MS) // period * period
    times = first + period * np.arange(round(days * DAY_MS / period))
    curve, values = SHAPES[shape](rng, (times - MONDAY) / HOUR_MS, period)
    return Metric(shape, Series(times, values), curve)


def rises(shape: str) -> bool:
    """Return whether an incident of that shape is a rise: there is nothing to fall from."""
    return shape in {"sparse", "idle"}


def outage(metric: Metric, part: slice, depth: float) -> Metric:
    """Return the metric with an incident: values at a share `depth` of theirs, or a rise.

    Errors rise to some twenty a reading, an idle host to 40 %.
    """
    level = {"sparse": 20.0, "idle": 40.0}.get(metric.shape)
    if level is None:
        return metric.with_values(part, metric.values[part] * depth)
    lift = np.round(level * (1 - depth) * (1 + 0.1 * np.sin(np.arange(part.stop - part.start))))
    return metric.with_values(part, metric.values[part] + lift)


AFTER = 30 * MINUTE_MS
"""Nothing may be flagged later than this after an incident, or than one reading."""

AFTERMATH = DAY_MS
"""Alerts are attributed to an incident until then."""


@dataclass(frozen=True)
class Setting:
    """What a case is run with.

    Attributes
    ----------
    group : str
        A key of `CASES`.
    observer : callable or None
        Called with each record that is about a part of a metric, the metric and the result.
    """

    detector: str
    period: str
    shape: str
    seed: int
    sensitivity: float
    group: str = ""
    observer: Callable[[Record, Metric, Detection], None] | None = None

    @property
    def period_ms(self) -> int:
        """Milliseconds between readings."""
        return PERIODS[self.period]

    @property
    def history(self) -> int:
        """Days of history before an incident: 3 to 22; at 5 min, 4,320 readings."""
        return {"10 s": 3, "1 min": 5, "5 min": 15, "1 h": 22}[self.period]

    @property
    def lags(self) -> tuple[int, ...]:
        """Days until an incident comes again."""
        return (1,) if self.period == "10 s" else (1, 3, 6)

    def rng(self, case: str) -> np.random.Generator:
        """Return a generator that depends on the case and the setting, not on the detector."""
        key = crc32(f"{case}/{self.period}/{self.shape}".encode())
        return np.random.default_rng([key, self.seed])

    def simulate(self, days: float, start: float = 0.0) -> Metric:
        """Simulate the setting's metric."""
        return simulate(self.shape, self.period_ms, days, self.seed, start)

    def detect(self, metric: Metric, sensitivity: float | None = None) -> Detection:
        """Run the detector."""
        budget = self.sensitivity if sensitivity is None else sensitivity
        return load(self.detector)(metric.series, budget)


@dataclass(frozen=True)
class Record:
    """How a detector did in one case.

    Attributes
    ----------
    found, single, recovered : bool or None
        Found; by exactly one alert; nothing flagged from half an hour after it. None where the
        case does not say.
    delay : float or None
        Minutes from its first reading to the alert.
    share : float or None
        Share of readings with a property, of bounds for one.
    false : int or None
        Alerts in ordinary time.
    weeks : float or None
        How long that was.
    """

    detector: str
    case: str
    period: str
    shape: str
    seed: int
    sensitivity: float
    found: bool | None = None
    single: bool | None = None
    recovered: bool | None = None
    delay: float | None = None
    share: float | None = None
    false: int | None = None
    weeks: float | None = None
    start: int = -1
    stop: int = -1
    group: str = ""


def record(setting: Setting, case: str, sensitivity: float | None = None, **found: Any) -> Record:
    """Return a record of a case."""
    budget = setting.sensitivity if sensitivity is None else sensitivity
    return Record(
        detector=setting.detector,
        case=case,
        period=setting.period,
        shape=setting.shape,
        seed=setting.seed,
        sensitivity=budget,
        group=setting.group,
        **found,
    )


def incident(
    setting: Setting, case: str, clean: Detection, faulty: Detection, metric: Metric, part: slice
) -> Record:
    """Record how an incident at `part` is detected, compared with the detection without it.

    Parameters
    ----------
    clean, faulty : Detection
        Without the incident and with it; `clean` may be longer.
    """
    n, times = len(metric.times), metric.times
    first, last = times[part.start], times[part.stop - 1]
    flags = flags_of(faulty, n)
    usual = flags_of(clean, len(clean.is_anomaly))[:n]
    ends = last + max(AFTER, metric.period)
    starts = np.array(
        sorted({alert.start for alert in faulty.alerts if alert.start >= part.start}), int
    )
    starts = starts[~usual[starts] & (times[starts] <= last + AFTERMATH)]
    hits = starts[times[starts] <= last + AFTER]
    after = (times > ends) & (times <= last + AFTERMATH)
    made = record(
        setting,
        case,
        found=bool(len(hits)),
        single=len(starts) == 1 and bool(len(hits)),
        recovered=not bool((flags & ~usual)[after].any()),
        delay=float(times[hits[0]] - first) / MINUTE_MS if len(hits) else None,
        start=part.start,
        stop=part.stop,
    )
    if setting.observer:
        setting.observer(made, metric, faulty)
    return made


def found_only(made: Record) -> Record:
    """Return a record that says only whether something was found, and when."""
    return replace(made, single=None, recovered=None)


def ordinary(
    setting: Setting,
    case: str,
    metric: Metric,
    result: Detection,
    part: slice,
    sensitivity: float | None = None,
) -> Record:
    """Count the alerts that start in a part where nothing happens."""
    stop = min(part.stop, len(metric.times))
    false = sum(part.start <= alert.start < stop for alert in result.alerts)
    weeks = (stop - part.start) * metric.period / WEEK
    made = record(setting, case, sensitivity, false=false, weeks=weeks, start=part.start, stop=stop)
    if setting.observer:
        setting.observer(made, metric, result)
    return made

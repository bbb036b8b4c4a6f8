"""The detectors under test, and reference detectors to compare them with.

A detector is a function `detect(series, sensitivity) -> Detection`; `sensitivity` is the false
alerts a week that it may raise. It is named on the command line: `contextual`, a peer, an extreme
that tests use (`silent`, `always`), or `module:function`. Peers are causal scores on regular
periods, numpy only, high where a reading is unusual and 0 where it is not known; their thresholds
come from the series' own history.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.detection.counting import HOUR_MS, daily_thresholds, group, whole_step
from ops_anomaly.detection import untrained
from ops_anomaly.detection.types import Alert, Detection, Series
from training.sources.series import DAY_MS

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers, Mask

    Detect = Callable[[Series, float], Detection]

MAX_SCORE = 1000.0

MIN_SCALE = 0.02
"""A deviation is not believed to be smaller than this share of the 5-95 % spread so far."""

SCALE_DAYS = 28


class UnknownDetectorError(ValueError):
    """There is no detector of this name."""


def load(name: str) -> Detect:
    """Return the detector of a name, or raise `UnknownDetectorError`."""
    if name in PEERS:
        return Peer(name)
    if name in DETECTORS:
        return DETECTORS[name]
    module, separator, function = name.partition(":")
    if not separator:
        known = ", ".join([*DETECTORS, *PEERS])
        raise UnknownDetectorError(f"unknown detector {name!r}; use {known}, or module:function")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        loaded: Detect = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UnknownDetectorError(f"{name!r} can't be imported: {error}") from error
    return loaded


def detect_each(name: str, series: Series, sensitivities: Sequence[float]) -> list[Detection]:
    """Detect at several sensitivities, with one computation of the scores for a peer."""
    detect = load(name)
    if isinstance(detect, Peer):
        return detect.detect_each(series, sensitivities)
    return [detect(series, sensitivity) for sensitivity in sensitivities]


def flags_of(detection: Detection, readings: int) -> Mask:
    """Return the flags (n,), alert starts included: some flag only what is anomalous."""
    flags = np.array(detection.is_anomaly, bool)
    if len(flags) != readings:
        raise ValueError(f"The detector returned {len(flags)} flags for {readings} readings")
    flags[[alert.start for alert in detection.alerts]] = True
    return flags


def alerts_of(detection: Detection, times: Integers, count_by: str) -> list[tuple[int, int]]:
    """Return alerts as the counting rule groups flags, or (`alerts`) as the detector has them."""
    if count_by == "alerts":
        return [(alert.start, alert.end) for alert in detection.alerts]
    return group(times, flags_of(detection, len(times)))


def detection_of(
    times: Integers, scores: Floats, thresholds: Floats, known: Mask | None = None
) -> Detection:
    """Return a detection whose flags, where a score reaches its threshold, are grouped."""
    flags = scores >= thresholds
    unknown = np.full(len(times), np.nan)
    return Detection(
        scores=scores,
        thresholds=thresholds,
        is_anomaly=flags,
        expected=unknown,
        lower=unknown,
        upper=unknown,
        reasons={},
        alerts=[Alert(first, last, first) for first, last in group(times, flags)],
        can_evaluate=np.isfinite(thresholds) if known is None else known,
    )


@dataclass(frozen=True)
class Peer:
    """A peer's score with a threshold from the series' own history."""

    name: str

    def __call__(self, series: Series, sensitivity: float) -> Detection:
        """Detect."""
        return self.detect_each(series, [sensitivity])[0]

    def detect_each(self, series: Series, sensitivities: Sequence[float]) -> list[Detection]:
        """Detect at several sensitivities with one computation of the scores."""
        periods = Periods(series)
        scores = PEERS[self.name](periods)
        of_readings = periods.readings(scores)
        detections = []
        for budget in sensitivities:
            of_periods = daily_thresholds(scores, periods.day, budget)
            thresholds = np.full(len(series), np.inf)
            thresholds[periods.kept] = of_periods[periods.positions]
            detections.append(detection_of(series.times, of_readings, thresholds))
        return detections


def contextual(series: Series, sensitivity: float) -> Detection:
    """Detect as the API and the watcher do for a series without a model."""
    return untrained().detect(series, sensitivity)


def silent(series: Series, sensitivity: float) -> Detection:
    """Flag nothing."""
    zeros = np.zeros(len(series))
    return detection_of(series.times, zeros, zeros + 1, np.ones(len(series), bool))


def always(series: Series, sensitivity: float) -> Detection:
    """Flag everything."""
    zeros = np.zeros(len(series))
    return detection_of(series.times, zeros, zeros, np.ones(len(series), bool))


DETECTORS: dict[str, Detect] = {"contextual": contextual, "silent": silent, "always": always}


class Periods:
    """Readings on regular periods of the median step, gaps filled with the value before.

    Attributes
    ----------
    positions : (m,) int64
        Period of each reading that has one of its own.
    kept : (n,) bool
        Which readings these are.
    values : (periods,) float64
    times : (periods,) int64, milliseconds
    day, hour : int
        Periods in a day and in an hour, at least 1.
    """

    def __init__(self, series: Series) -> None:
        step, times = whole_step(series), series.times
        positions = (times - times[0] + step // 2) // step
        self.kept = np.concatenate([[True], np.diff(positions) > 0])
        self.positions = positions[self.kept]
        n = int(positions[-1]) + 1
        filled = np.searchsorted(self.positions, np.arange(n), side="right") - 1
        self.values = series.values[self.kept][filled]
        self.times = times[0] + step * np.arange(n)
        self.day, self.hour = max(round(DAY_MS / step), 1), max(round(HOUR_MS / step), 1)
        self._scale: Floats | None = None

    def __len__(self) -> int:
        return len(self.values)

    def chunks(self, size: int) -> Iterator[slice]:
        """Yield chunks of `size` periods."""
        return (slice(at, min(at + size, len(self))) for at in range(0, len(self), size))

    @property
    def min_scale(self) -> Floats:
        """Lowest credible deviation of each period (periods,), renewed daily from those before."""
        if self._scale is None:
            self._scale = np.full(len(self), np.inf)
            for chunk in self.chunks(self.day):
                history = self.values[max(chunk.start - SCALE_DAYS * self.day, 0) : chunk.start]
                if len(history):
                    low, high = np.quantile(history, (0.05, 0.95))
                    spread = high - low or max(np.abs(history).max(), 1e-9)
                    self._scale[chunk] = max(MIN_SCALE * spread, 1e-12)
        return self._scale

    def readings(self, scores: Floats) -> Floats:
        """Return the readings' scores (n,); 0 where a period holds another one."""
        result = np.zeros(len(self.kept))
        result[self.kept] = np.minimum(np.nan_to_num(scores), MAX_SCORE)[self.positions]
        return result


def seasonal_residuals(periods: Periods) -> Floats:
    """Return values less the median of the same time on up to seven days before; 0 on day one."""
    n, day = len(periods), periods.day
    lagged = np.full((7, n), np.nan)
    for lag in range(1, 8):
        if lag * day < n:
            lagged[lag - 1, lag * day :] = periods.values[: n - lag * day]
    residuals = np.zeros(n)
    if n > day:
        residuals[day:] = periods.values[day:] - np.nanmedian(lagged[:, day:], axis=0)
    return residuals


def standardised(periods: Periods, residuals: Floats) -> Floats:
    """Return |residuals| over their robust deviation in the last week, renewed hourly."""
    scores = np.zeros(len(periods))
    for chunk in periods.chunks(max(periods.hour, 6)):
        history = residuals[max(chunk.start - 7 * periods.day, periods.day) : chunk.start]
        if len(history) >= 10:
            deviation = 1.4826 * np.median(np.abs(history))
            scores[chunk] = np.abs(residuals[chunk]) / np.maximum(
                deviation, periods.min_scale[chunk]
            )
    return scores


def naive(periods: Periods) -> Floats:
    """Seasonal naive forecast: distance from the median of the same time on seven days."""
    return standardised(periods, seasonal_residuals(periods))


def moving_average(periods: Periods) -> Floats:
    """Control chart of the last hour's mean seasonal residual (Roberts 1959, flat weights)."""
    width = max(periods.hour, 3)
    total = np.concatenate([[0.0], np.cumsum(seasonal_residuals(periods))])
    means = np.zeros(len(periods))
    means[width - 1 :] = (total[width:] - total[:-width]) / width
    return standardised(periods, means)


def band(periods: Periods) -> Floats:
    """Deviations from the mean of the same hour of four weeks, in the manner of metric bands.

    From two weeks on, weekdays are compared with weekdays and weekends with weekends.
    """
    scores, day, hour = np.zeros(len(periods)), periods.day, periods.hour
    is_weekend = (periods.times // DAY_MS + 3) % 7 >= 5
    near = np.arange(-max(hour // 2, 1), max(hour + hour // 2, 2))
    for chunk in periods.chunks(hour):
        at = chunk.start
        same = at - day * np.arange(1, 29)
        same = same[same >= 0]
        if at < day // 2:
            continue
        if not len(same):
            same = np.array([at - day // 2])
        if at >= 14 * day:
            alike = same[is_weekend[same] == is_weekend[at]]
            same = alike if len(alike) > 1 else same
        positions = (same[:, None] + near).ravel()
        sample = periods.values[positions[(positions >= 0) & (positions < at)]]
        scale = np.maximum(sample.std(), periods.min_scale[chunk])
        scores[chunk] = np.abs(periods.values[chunk] - sample.mean()) / scale
    return scores


def holt_winters(periods: Periods, level_rate: float = 0.1, season_rate: float = 0.15) -> Floats:
    """One-step error of additive Holt-Winters with a daily season, over its mean absolute value.

    Updates are clipped at five mean errors (after Gelper, Fried and Croux 2010).
    """
    day, values, scale = periods.day, periods.values.tolist(), periods.min_scale.tolist()
    scores = np.zeros(len(periods))
    if len(periods) <= day:
        return scores
    level = float(np.mean(values[:day]))
    season = [value - level for value in values[:day]]
    mean_error = 0.0
    for i in range(day, len(values)):
        phase, seen = i % day, i - day
        error = values[i] - level - season[phase]
        if seen > 20:
            scores[i] = abs(error) / max(1.25 * mean_error, scale[i])
        clipped = error
        if seen > day:
            clipped = min(max(error, -5 * mean_error), 5 * mean_error)
        level += level_rate * clipped
        season[phase] += season_rate * clipped
        rate = 0.002 if seen > day else 1 / (seen + 1)
        mean_error += rate * (abs(clipped) - mean_error)
    return scores


def flatline(periods: Periods) -> Floats:
    """How long a value has not changed, over the longest such time of the last two weeks."""
    index = np.arange(len(periods))
    changed = np.concatenate([[True], np.abs(np.diff(periods.values)) > 1e-12])
    unchanged = index - np.maximum.accumulate(np.where(changed, index, 0))
    scores = np.zeros(len(periods))
    for chunk in periods.chunks(periods.day):
        history = unchanged[max(chunk.start - 14 * periods.day, 0) : chunk.start]
        if len(history):
            scores[chunk] = unchanged[chunk] / max(history.max(), 5)
    return scores


def in_own_tail(periods: Periods, scores: Floats) -> Floats:
    """Return scores above their median, over the distance to their 98 % quantile, of two weeks."""
    result = np.zeros(len(scores))
    history_length = min(14 * periods.day, 4032)
    for chunk in periods.chunks(max(periods.day // 2, 12)):
        history = scores[max(chunk.start - history_length, 0) : chunk.start]
        history = history[history > 0]
        if len(history) >= 50:
            median, high = np.quantile(history, (0.5, 0.98))
            result[chunk] = np.maximum(scores[chunk] - median, 0) / max(high - median, 1e-12)
    return result


def spectral_residual(periods: Periods, window: int = 256, ahead: int = 5) -> Floats:
    """Saliency of a window's last reading (Ren et al., KDD 2019, without the network)."""
    scores = np.zeros(len(periods))
    if len(periods) < window:
        return scores
    windows = sliding_window_view(periods.values, window)
    for at in range(0, len(windows), 256):
        part = windows[at : at + 256]
        scale = part.std(axis=1, keepdims=True) + periods.min_scale[at + window - 1]
        saliency = saliency_map(extrapolated((part - part.mean(1, keepdims=True)) / scale, ahead))
        local = saliency[:, window - 22 : window - 1].mean(axis=1)
        rise = np.maximum(saliency[:, window - 1] - local, 0)
        scores[at + window - 1 : at + window - 1 + len(part)] = rise / (local + 1e-8)
    return in_own_tail(periods, scores)


def extrapolated(windows: Floats, ahead: int) -> Floats:
    """Append `ahead` repeats of a linear extrapolation, (n, w) -> (n, w + ahead)."""
    lags = np.arange(1, ahead + 1)
    slopes = ((windows[:, [-2]] - windows[:, -2 - lags]) / lags).mean(axis=1)
    estimate = windows[:, -1 - ahead] + ahead * slopes
    return np.concatenate([windows, np.repeat(estimate[:, None], ahead, axis=1)], axis=1)


def saliency_map(windows: Floats) -> Floats:
    """Return the saliency map of each row."""
    spectrum = np.fft.rfft(windows, axis=1)
    size = np.abs(spectrum) + 1e-8
    log_size = np.log(size)
    padded = np.pad(log_size, ((0, 0), (2, 0)), mode="edge")
    smooth = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3
    residual = np.exp(log_size - smooth) * spectrum / size
    return np.abs(np.fft.irfft(residual, n=windows.shape[1], axis=1))


def random_cut_forest(periods: Periods, size: int = 8, chunk: int = 512) -> Floats:
    """Random cut forest on subsequences of eight values (Guha et al., ICML 2016).

    Grown anew every `chunk` periods from recent subsequences, newer ones sampled more often.
    """
    scores = np.zeros(len(periods))
    for part in periods.chunks(chunk):
        if part.start == 0:
            part = slice(min(256, len(periods)), part.stop)  # noqa: PLW2901
        known = periods.values[max(part.start - 8064, 0) : part.start]
        queries = periods.values[part.start - size + 1 : part.stop]
        if len(known) >= 256 and len(queries) >= size:
            scores[part] = forest_scores(known.tobytes(), queries.tobytes(), size, part.start)
    return in_own_tail(periods, scores)


@dataclass(frozen=True)
class Forest:
    """Random cut trees, their m nodes in one table.

    Attributes
    ----------
    low, high : (m, d) float64
        Bounding box of each node's points.
    points, axis, left, right : (m,) int64
        How many points; the axis that is cut and the children, 0 in leaves.
    cut : (m,) float64
    roots : (trees,) int64
    """

    low: Floats
    high: Floats
    points: Integers
    axis: Integers
    cut: Floats
    left: Integers
    right: Integers
    roots: Integers

    def score(self, queries: Floats) -> Floats:
        """Score queries (q, d) by the mean over trees, (q,).

        At a node, a query is separated with the probability that a cut falls between it and the
        node's box; early separation scores high.
        """
        rows = np.repeat(np.arange(len(queries)), len(self.roots))
        node, weight = np.tile(self.roots, len(queries)), np.ones(len(rows))
        scores, depth = np.zeros(len(queries)), 0
        while len(node):
            low, high, here = self.low[node], self.high[node], queries[rows]
            beyond = (np.maximum(low - here, 0) + np.maximum(here - high, 0)).sum(axis=1)
            reach = beyond + (high - low).sum(axis=1)
            separated = np.divide(beyond, reach, out=np.zeros(len(node)), where=reach > 0)
            gain, weight = weight * separated / (depth + 1), weight * (1 - separated)
            is_leaf = self.left[node] == 0
            rest = weight / np.maximum(depth + np.log2(self.points[node] + 1), 1)
            np.add.at(scores, rows, gain + np.where(is_leaf, rest, 0))
            at = queries[rows, self.axis[node]]
            node = np.where(at <= self.cut[node], self.left[node], self.right[node])
            node, rows, weight = node[~is_leaf], rows[~is_leaf], weight[~is_leaf]
            depth += 1
        return scores / len(self.roots)


@lru_cache(maxsize=512)
def forest_scores(known: bytes, queries: bytes, size: int, seed: int) -> Floats:
    """Score the subsequences of `queries`; cached, since series with a fault are mostly alike."""
    forest = grow_forest(known, size, seed)
    return forest.score(sliding_window_view(np.frombuffer(queries), size))


@lru_cache(maxsize=64)
def grow_forest(known: bytes, size: int, seed: int, trees: int = 25, sample: int = 256) -> Forest:
    """Grow a forest on subsequences of `known`."""
    rng = np.random.default_rng(seed)
    points = sliding_window_view(np.frombuffer(known), size)
    weights = np.exp((np.arange(len(points)) - len(points)) / 2560)
    nodes: list[list[Any]] = []
    roots = []
    for _ in range(trees):
        chosen = rng.choice(len(points), min(sample, len(points)), p=weights / weights.sum())
        roots.append(len(nodes))
        grow_tree(points[chosen], nodes, rng)
    columns = [np.array(column) for column in zip(*nodes, strict=True)]
    return Forest(*columns, np.array(roots))  # type: ignore[call-arg]


def grow_tree(points: Floats, nodes: list[list[Any]], rng: np.random.Generator) -> None:
    """Append the nodes of a tree over points (m, d), as rows of `Forest`'s columns."""
    waiting = [(points, -1, 0)]
    while waiting:
        inside, parent, column = waiting.pop()
        if parent >= 0:
            nodes[parent][column] = len(nodes)
        low, high = inside.min(axis=0), inside.max(axis=0)
        reach = np.cumsum(high - low)
        row = [low, high, len(inside), 0, 0.0, 0, 0]
        nodes.append(row)
        if len(inside) == 1 or reach[-1] <= 1e-12:
            continue
        axis = int(np.searchsorted(reach, rng.random() * reach[-1], side="right"))
        cut = low[axis] + rng.random() * (high[axis] - low[axis])
        row[3:5] = axis, cut
        is_left = inside[:, axis] <= cut
        waiting.append((inside[is_left], len(nodes) - 1, 5))
        waiting.append((inside[~is_left], len(nodes) - 1, 6))


PEERS: dict[str, Callable[[Periods], Floats]] = {
    "band": band,
    "holt-winters": holt_winters,
    "moving-average": moving_average,
    "flatline": flatline,
    "naive": naive,
    "spectral-residual": spectral_residual,
    "random-cut-forest": random_cut_forest,
}

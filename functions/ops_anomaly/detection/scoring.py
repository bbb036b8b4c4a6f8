"""Reading by reading: scores, alerts, the incident, and what is learnt.

What changes slowly, usual values, thresholds, the season, which readings are history, holds for a
block of readings and is refreshed at its start. Where blocks begin depends on what came before and
on nothing else, so a series is scored the same in one piece, point by point, or in any chunks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.detection import adaptation, periods, seasons, thresholds
from ops_anomaly.detection import members as m
from ops_anomaly.detection.state import RATES, State
from ops_anomaly.detection.types import DAY, HOUR

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats, Integers, Mask

Scores = tuple[float, ...]

MAX_BLOCK = 128
"""Readings; never more than half a day, so that yesterday's are always known."""

STEPS = 256
SLOW = 2 * DAY
RECOVERY = HOUR
"""An incident is over after so long, or three steps, without a flag."""

CAUTION_FADES = 12 * HOUR
"""After one alert the next must be twice as far beyond, after two three times: most are of the same
trouble. That fades with this time constant."""

MIN_CAUTION = 1.02
"""Below it, nothing more is required of the next alert."""

VALUE = list(m.VALUE)

HALF = 0.5
"""Of its threshold: what a reading must deviate itself to be flagged for the mean it ends, and
where a member's score must fall for its incident to be over."""

CLIP = 5.0
"""Mean absolute errors that a level moves by at most."""

FORGET = 0.003
"""Share of the newest error in their mean size."""

MIN_MOVE_STEPS = 6.0
"""Fewest steps that show how much a metric moves, or where it has moved to."""

RESTLESS_STEP = 2.0
"""Standard errors that a step has at least that is flagged for restlessness."""

ALMOST = 0.99
"""The score of a mean beyond its threshold that ends with an ordinary reading."""

NOT_KEPT = (-math.inf,) * (m.COUNT - 2)
"""Scores of all but forecasts, where they are not kept."""

SEASONLESS = tuple(-math.inf if k in m.SEASONAL else math.inf for k in range(m.COUNT))
"""Caps of scores on a day that is like none before: of a season's none is kept."""

SAME = 1e-12
HOURLY_PRIOR, MAX_HOURLY = 24.0, 480.0


COLUMNS = (
    *("best", "usual", "low", "high", "forecast", "slow", "gain"),
    *("scale", "stood", "lowest", "highest", "season", "step"),
)


@dataclass
class Evaluations:
    """What became of n readings.

    Attributes
    ----------
    scores, thresholds : (n, members)
        Of each member, and what it had to reach.
    best, members : (n,)
        The highest score, in thresholds, and the member's; -1 below 1.
    starts : (n,) bool
        Which readings raised an alert.
    usual, low, high : (n,)
        Usual at this time, and the range of like days, both without the slow deviation.
    forecast, slow : (n,)
        One-step forecast; the deviation of the last two days.
    gain, scale : (n,)
        Weight of the reading in the mean of an hour; size of errors in this hour, 1 for all hours.
    stood, lowest, highest, season, step : (n,)
        Time without a change, ms; range ever seen; the season in use; usual step, ms.
    is_sure : (n,) bool
        Whether enough was known to find a gross deviation.
    """

    scores: Floats
    thresholds: Floats
    best: Floats
    members: Integers
    starts: Mask
    usual: Floats
    low: Floats
    high: Floats
    forecast: Floats
    slow: Floats
    gain: Floats
    scale: Floats
    stood: Floats
    lowest: Floats
    highest: Floats
    season: Floats
    step: Floats
    is_sure: Mask

    @classmethod
    def empty(cls, n: int) -> Evaluations:
        """Return arrays for n readings, to be filled."""
        columns = {name: np.zeros(n) for name in COLUMNS}
        return cls(
            scores=np.zeros((n, m.COUNT)),
            thresholds=np.full((n, m.COUNT), np.inf),
            members=np.full(n, -1),
            starts=np.zeros(n, bool),
            is_sure=np.zeros(n, bool),
            **columns,
        )

    def part(self, start: int, stop: int) -> Evaluations:
        """Return views of some of them."""
        return Evaluations(*(column[start:stop] for column in vars(self).values()))


def evaluate(
    state: State, times: Integers, values: Floats, novel: Floats | None = None
) -> Evaluations:
    """Score readings, and move the state on.

    Parameters
    ----------
    times, values : (n,)
        Milliseconds, increasing, after the state's.
    novel : (n,) float64 or None
        Surprisal of the novelty forest, where there is one.
    """
    evaluations = Evaluations.empty(len(times))
    novel = np.zeros(len(times)) if novel is None else novel
    start = 0
    while start < len(times):
        if state.count == state.block_stop:
            begin_block(state, int(times[start]))
        stop = min(start + state.block_stop - state.count, len(times))
        part = slice(start, stop)
        out = evaluations.part(start, stop)
        Pass(state, times[part], values[part], novel[part], out).run()
        start = stop
    return evaluations


def begin_block(state: State, next_time: int) -> None:
    """Refresh what holds for a block, from everything before it.

    Parameters
    ----------
    next_time : int
        Of the block's first reading, milliseconds. A period that it shares with the last reading
        is not complete yet: in chunks, it would be seen with other readings than in bulk.
    """
    if state.steps.size:
        state.step = float(np.sort(state.steps)[state.steps.size // 2])
    half_day = int(DAY / 2 / state.step) if state.step else 1
    state.block_stop = state.count + min(max(half_day, 1), MAX_BLOCK, max(state.count // 2, 1))
    if not state.count:
        return
    periods.fit_width(state)
    periods.trim(state)
    state.frozen = min(state.time // state.period + 1, next_time // state.period)
    adaptation.accept(state)
    adaptation.adapt_to_clock(state)
    centre(state)
    seasons.choose(state)
    state.best = int(np.argmin(state.errors))
    state.relative = relative_sizes(state)
    thresholds.refresh(state)
    set_sizes(state)


def set_sizes(state: State) -> None:
    """Set what counts as a move, and as a deviation, in the next block."""
    state.deviation = thresholds.noise(state)[1]
    state.usual_move = thresholds.GAUSS * float(state.errors[state.best])
    least = max(1e-9 * max(abs(state.lowest), abs(state.highest)), 1e-150)
    if state.quantum < 1e300:
        least = max(least, 0.1 * state.quantum)
    state.least_moves = least**2


def centre(state: State) -> None:
    """Renew the median and the range; without a season, deviations are from that median."""
    middle, state.lowest, state.highest = periods.level_and_range(state)
    if state.season == seasons.NONE:
        moved = state.centre - middle
        state.levels += moved
        state.before += moved
        state.slow += moved
    state.centre = middle


def relative_sizes(state: State) -> Floats:
    """Return the size of errors in each hour relative to all, drawn towards 1: (48,).

    Its square root: halfway between thresholds that follow the noise and one for all hours, as
    what matters in busy hours is noisy hours' business.
    """
    mean = float(state.errors[state.best])
    if not mean or state.time - state.first < thresholds.NEW:
        return np.ones(48)
    sizes = state.hourly + HOURLY_PRIOR * mean
    sizes /= (state.hourly_count + HOURLY_PRIOR) * mean
    return np.sqrt(np.clip(sizes, 0.04, 100.0))


class Pass:
    """One part of a block: its constants as plain numbers, and the steps for each reading."""

    def __init__(
        self,
        state: State,
        times: Integers,
        values: Floats,
        novel: Floats,
        out: Evaluations,
    ) -> None:
        if not state.count:
            periods.begin(state, int(times[0]), float(values[0]))
        self.state, self.out = state, out
        index = times // state.period
        usual = seasons.Usual(state, index)
        low, high = usual.range(state.season)
        out.usual[:], out.low[:], out.high[:] = usual.values[:, state.season], low, high
        out.lowest[:], out.highest[:] = state.lowest, state.highest
        out.season[:], out.step[:] = state.season, state.step
        out.is_sure[:] = state.count >= thresholds.SURE_READINGS
        self.low, self.high = low.tolist(), high.tolist()
        self.usual = out.usual.tolist()
        self.misfit = np.abs(values[:, np.newaxis] - usual.values)
        self.is_new_day = usual.is_new_day.tolist()
        starts_anew = np.diff(usual.is_new_day, prepend=state.was_new_day)
        state.was_new_day = self.is_new_day[-1]
        self.periods, self.times, self.values = index.tolist(), times.tolist(), values.tolist()
        self.misfit_rows = np.where(usual.is_known, self.misfit, 0.0).tolist()
        self.known_rows = usual.is_known.tolist()
        self.levels, self.before = state.levels.tolist(), state.before.tolist()
        self.errors = state.errors.tolist()
        self.kept: list[Scores] = []
        self.misfits, self.misfit_counts = state.misfit.tolist()
        self.hourly, self.hourly_count = state.hourly.tolist(), state.hourly_count.tolist()
        self.novel = novel.tolist()
        self.rows: list[Scores] = []
        self.best: list[float] = []
        self.caution, self.off = 1.0, 0.0
        self._others = self._evaluate_means, self._evaluate_movement
        self._set_weights(times, starts_anew)
        self._set_limits(times)

    def _set_weights(self, times: Integers, starts_anew: Mask) -> None:
        """Set the weights of each reading in means of an hour, six hours, two days.

        After a gap, and where a first weekend starts or ends, the forecast starts over.
        """
        state = self.state
        gaps = np.diff(times, prepend=state.time).astype(float)
        new = gaps if state.count else gaps[1:]
        state.steps = np.concatenate([state.steps, new])[-STEPS:]
        self.recovery = max(RECOVERY, 3.0 * state.step)
        is_gap = (gaps > self.recovery) & (state.step > 0)
        self.is_gap = (is_gap | starts_anew).tolist()
        spans = np.minimum(gaps, 2.0 * state.step) if state.step else gaps
        shortest = MIN_MOVE_STEPS * state.step
        taus = HOUR, max(6 * HOUR, shortest), max(SLOW, 8.0 * shortest), max(HOUR, shortest)
        hour, six, slow, moves = (1.0 - np.exp(-spans / tau) for tau in taus)
        self.of_moves = moves.tolist()
        self.of_hour, self.of_six, self.of_slow = hour.tolist(), six.tolist(), slow.tolist()
        self.out.gain[:] = hour

    def _set_limits(self, times: Integers) -> None:
        state = self.state
        self.limits = state.thresholds.tolist()
        self.starts = state.starts.tolist()
        self.out.thresholds[:] = state.thresholds
        self.out.thresholds[np.ix_(self.is_new_day, m.SEASONAL)] = np.inf
        hours = times // HOUR % 24 + 24 * seasons.is_weekend(times // DAY)
        scale = state.relative[hours]
        self.out.scale[:] = scale
        self.scale, self.hours = scale.tolist(), hours.tolist()

    def run(self) -> None:
        """Score the readings one by one, and learn from each."""
        for i in range(len(self.times)):
            scores = self._measure(i)
            best, member, is_instant = self._evaluate(i, scores)
            is_start = self._update_incident(i, scores, best, member)
            self._record(i, scores, best, member, is_start)
            self._learn(i, scores, best, member, is_instant)
        self._hand_back()

    def _hand_back(self) -> None:
        """Write what was held as plain numbers, which are faster one by one, into arrays."""
        state, out = self.state, self.out
        out.scores[:], out.best[:] = self.rows, self.best
        state.levels, state.before = np.array(self.levels), np.array(self.before)
        state.errors = np.array(self.errors)
        self._keep_tops()
        state.misfit = np.array([self.misfits, self.misfit_counts])
        state.hourly, state.hourly_count = np.array(self.hourly), np.array(self.hourly_count)

    def _measure(self, i: int) -> Scores:
        """Return the score of each member, and keep what they were taken from."""
        state, value, weight = self.state, self.values[i], self.of_hour[i]
        above = value - self.usual[i]
        if self.is_gap[i]:
            self.levels = [above] * len(RATES)
        level = self.levels[state.best]
        error = above - level
        if state.is_open:
            former = self.before[state.best]
            if abs(above - former) < abs(error):
                error, level = above - former, former
        deviation = above - state.slow
        step = value - state.value
        if abs(step) > SAME * abs(value):
            self._note_change(self.times[i], abs(step), abs(value))
        self.above, self.level, self.off, self.step = above, level, deviation, step
        self.hour = state.hour + weight * (deviation - state.hour)
        self.six = state.six + self.of_six[i] * (deviation - state.six)
        self.moves = state.moves
        if not (self.is_gap[i] or state.was_off):
            per_scale = step / self.scale[i]
            self.moves += self.of_moves[i] * (per_scale * per_scale - state.moves)
        moves = math.log(max(self.moves, state.least_moves))
        error /= self.scale[i]
        level_free = value - state.slow
        stood = math.log1p((self.times[i] - state.changed) / (state.step or 1.0))
        return (
            error, -error, level_free - self.high[i], self.low[i] - level_free, self.hour,
            -self.hour, self.six, -self.six, moves, -moves, stood, value - state.highest,
            state.lowest - value, self.novel[i],
        )  # fmt: skip

    def _note_change(self, time: int, step: float, size: float) -> None:
        state = self.state
        state.changed, state.changes, state.is_stuck_known = time, state.changes + 1, False
        if 1e-9 * size < step < state.quantum:
            state.quantum = step

    def _evaluate(self, i: int, scores: Scores) -> tuple[float, int, bool]:
        """Return the highest score in thresholds, whose it is, and if it is the reading's own."""
        limits, is_new_day = self.limits, self.is_new_day[i]
        self.caution = self._caution(self.times[i])
        best, member = 0.0, -1
        for k in m.FORECASTS if is_new_day else m.INSTANT:
            share = scores[k] / limits[k]
            if share > best:
                best, member = share, k
        is_instant = best >= self.caution
        others = (self._evaluate_movement,) if is_new_day else self._others
        for evaluate in others:
            share, k = evaluate(i, scores)
            if share > best:
                best, member = share, k
        if self.caution > 1.0:
            best /= self.caution
            self.out.thresholds[i, VALUE] *= self.caution
        return best, member, is_instant

    def _caution(self, time: int) -> float:
        """Return how many thresholds the next alert takes: more soon after others."""
        state = self.state
        since = time - state.flagged
        if not state.raised or (state.is_open and since <= self.recovery):
            return 1.0
        caution: float = 1.0 + state.raised * math.exp(-since / CAUTION_FADES)
        return caution if caution > MIN_CAUTION else 1.0

    def _own_deviation(self, k: int) -> float:
        """Return how far the reading itself is off in a member's direction, for its caution."""
        return (self.off if k in m.UP else -self.off) / self.caution

    def _evaluate_means(self, _: int, scores: Scores) -> tuple[float, int]:
        """Evaluate the means that end with a reading, which is flagged only if it is off itself."""
        best, member = 0.0, -1
        for k in m.LASTING:
            limit = self.limits[k]
            share = scores[k] / limit
            if share >= 1.0 and self._own_deviation(k) < HALF * limit:
                share = ALMOST
            if share > best:
                best, member = share, k
        return best, member

    def _evaluate_movement(self, i: int, scores: Scores) -> tuple[float, int]:
        """Evaluate restlessness, if the reading has a share in it, calm, and standing still."""
        best, member = 0.0, -1
        for k in (m.STUCK,) if self.is_new_day[i] else (m.RESTLESS, m.CALM, m.STUCK):
            beyond = scores[k] - self.limits[k]
            if beyond < 0.0 or (k == m.RESTLESS and not self._is_move(i)):
                continue
            share = 1.0 + beyond / (self.limits[k] - self.starts[k] + 1.0)
            if share > best:
                best, member = share, k
        return best, member

    def _is_move(self, i: int) -> bool:
        state = self.state
        least = RESTLESS_STEP * state.usual_move * self.scale[i]
        return not state.was_off and abs(self.step) >= least

    def _update_incident(self, i: int, scores: Scores, best: float, member: int) -> bool:
        """Begin, prolong or end the incident; return whether the reading raises an alert."""
        state, time = self.state, self.times[i]
        is_over = time - state.flagged > self.recovery
        if best >= 1.0:
            is_other = member in m.INSTANT and state.member in (m.RESTLESS, m.CALM)
            if not state.is_open or is_over or is_other:
                fade = math.exp((state.began - time) / CAUTION_FADES)
                state.raised = state.raised * fade + (state.count >= state.warm_up)
                state.is_open, state.began, state.member = True, time, member
                state.is_alerted = False
                self.before = self.levels.copy()
            else:
                periods.mark(state, state.flagged, time, is_ordinary=False)
            state.flagged = time
            is_start = not state.is_alerted and state.count >= state.warm_up
            state.is_alerted |= is_start
            return is_start
        if state.is_open and self._continues(scores):
            state.flagged = time
        elif state.is_open and is_over:
            state.is_open = False
        return False

    def _continues(self, scores: Scores) -> bool:
        """Return whether a member that sees what lasts is still far beyond what is ordinary."""
        k = self.state.member
        start = self.starts[k]
        limit = start + HALF * (self.limits[k] - start)
        return k in (*m.LASTING, m.RESTLESS, m.CALM, m.STUCK) and scores[k] > limit

    def _record(self, i: int, scores: Scores, best: float, member: int, is_start: bool) -> None:
        out, state = self.out, self.state
        self.rows.append(scores)
        self.best.append(best)
        if best >= 1.0:
            out.starts[i], out.members[i] = is_start, member
        out.forecast[i] = self.usual[i] + self.level
        out.slow[i] = state.slow
        out.stood[i] = self.times[i] - state.changed
        part = self.times[i] // thresholds.PART
        if part != state.part:
            self._keep_part(part)
        if not state.is_open or is_start:
            self._keep(i, scores)

    def _keep_part(self, part: int) -> None:
        state = self.state
        self._keep_tops()
        state.misfit = np.array([self.misfits, self.misfit_counts])
        thresholds.keep_part(state)
        state.part = part
        self.misfits, self.misfit_counts = state.misfit.tolist()

    def _keep(self, i: int, scores: Scores) -> None:
        """Keep what is ordinary, or raises an alert, for thresholds and the choice of a season."""
        is_warm = self.times[i] - self.state.first >= thresholds.WARM_UP
        if not is_warm:
            self.kept.append((*scores[:2], *NOT_KEPT))
        elif self.is_new_day[i]:
            self.kept.append(tuple(map(min, scores, SEASONLESS)))
        else:
            self.kept.append(scores)
        misfits, counts, known = self.misfits, self.misfit_counts, self.known_rows[i]
        for k, misfit in enumerate(self.misfit_rows[i]):
            misfits[k] += misfit
            counts[k] += known[k]

    def _keep_tops(self) -> None:
        """Keep the highest scores; one that alerts counts as one that just does.

        So an incident does not hide the next like it.
        """
        if self.kept:
            highest = np.minimum(np.array(self.kept).max(axis=0), self.state.recorded)
            self.state.tops = np.maximum(self.state.tops, highest)
            self.kept = []

    def _learn(self, i: int, scores: Scores, best: float, member: int, is_instant: bool) -> None:
        """Move what is expected, by ordinary readings only."""
        state, time, value = self.state, self.times[i], self.values[i]
        state.rough_now += self.of_six[i] * (abs(self.step) - state.rough_now)
        if best < 1.0:
            state.rough += self.of_slow[i] * (abs(self.step) - state.rough)
            if not self.is_new_day[i]:
                most = 3.0 * state.deviation
                state.slow += self.of_slow[i] * min(max(self.off, -most), most)
        if not is_instant:
            state.moves = self.moves
            is_still = state.is_open and state.member in (m.CALM, m.STUCK)
            if not (self.is_new_day[i] or is_still):
                state.hour, state.six = self.hour, self.six
            self._learn_levels(i)
        elif member in (m.RISE, m.FALL) and self._has_returned(time, scores):
            self.levels = [self.above] * len(RATES)
        periods.add(state, self.periods[i], value, self.periods[-1], is_ordinary=best < 1.0)
        state.count += 1
        state.time, state.value, state.was_off = time, value, is_instant

    def _has_returned(self, time: int, scores: Scores) -> bool:
        """Return whether a jump has led to where the metric has been before, for an hour."""
        if time - self.state.began < self.recovery:
            return False
        return all(scores[k] < self.limits[k] for k in (*m.INSTANT[2:], *m.LASTING))

    def _learn_levels(self, i: int) -> None:
        state = self.state
        if not state.count:
            return
        state.learnt += 1
        weight = max(FORGET, 1.0 / state.learnt)
        errors, levels, used = self.errors, self.levels, state.best
        most = CLIP * errors[used] if state.learnt > 10 else math.inf
        for k, rate in enumerate(RATES):
            error = self.above - levels[k]
            error = most if error > most else -most if error < -most else error
            if k == used:
                self._learn_size(self.hours[i], abs(error))
            errors[k] += weight * (abs(error) - errors[k])
            levels[k] += rate * error

    def _learn_size(self, hour: int, size: float) -> None:
        """Add an error to those of its hour; old ones fade."""
        self.hourly[hour] += size
        self.hourly_count[hour] += 1.0
        if self.hourly_count[hour] > MAX_HOURLY:
            self.hourly[hour] *= 0.5
            self.hourly_count[hour] *= 0.5

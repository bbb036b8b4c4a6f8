"""Feedback loosens nothing but what is like it, and what is undone leaves no trace."""

from __future__ import annotations

import msgspec
import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ops_anomaly.detection.periods import known
from ops_anomaly.detection.types import Series
from ops_anomaly.watcher.evaluation import MetricEvaluation, evaluate_metric
from ops_anomaly.watcher.feedback import (
    LIKENESS,
    NO_FEEDBACK,
    Feedback,
    Mark,
    MetricFeedback,
    Undo,
    by_metric,
    is_like,
)
from ops_anomaly.watcher.state import Checkpoint, MetricState
from ops_anomaly.watcher.watch_file import Options
from tests.support.incidents import expecting
from tests.support.shard_jobs import DAY, PERIOD, normal_load
from tests.support.watcher import NOON_MS, machines

METRIC, OTHER = machines(2)
STEP = 1000 * PERIOD
OPTIONS = Options(name="cpu", history_days=3)

VALUES = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
EXPECTED = VALUES | st.just(float("nan"))


@st.composite
def marks(draw: st.DrawFn) -> Mark:
    """What was fine: how low and how high its values were, and how far from what was expected."""
    lowest, highest = sorted([draw(VALUES), draw(VALUES)])
    below, above = draw(st.floats(0, 1e6)), draw(st.floats(0, 1e6))
    sides = draw(st.sampled_from(["above", "below", "both", "unknown"]))
    below, above = below * (sides in ("below", "both")), above * (sides in ("above", "both"))
    return Mark(f"a{draw(st.integers(0, 9))}", str(METRIC), 0, 1, lowest, highest, below, above)


def naively_like(value: float, expected: float, mark: Mark) -> bool:
    """Return whether a reading is like what was fine, as the documentation has it."""
    spare = LIKENESS * max(mark.below, mark.above)
    if not mark.lowest - spare <= value <= mark.highest + spare:
        return False
    deviation = value - expected
    if deviation > 0:
        return mark.above > 0 and deviation <= mark.above + spare
    if deviation < 0:
        return mark.below > 0 and -deviation <= mark.below + spare
    return True  # as expected, or nobody knows


@given(st.lists(st.tuples(VALUES, EXPECTED), max_size=8), st.lists(marks(), max_size=3))
def test_readings_are_like_what_was_fine_as_by_comparing_each(
    readings: list[tuple[float, float]], fine: list[Mark]
) -> None:
    values, expected = (np.array([each[n] for each in readings], float) for n in (0, 1))
    found = is_like(Series(np.arange(len(readings)), values), expecting(expected), fine)
    assert found.tolist() == [any(naively_like(*each, mark) for mark in fine) for each in readings]


FEEDBACK = st.lists(
    st.builds(
        lambda mark, metric, verdict, is_undone: Feedback(
            "i",
            verdict,
            "me",
            0,
            marks=[msgspec.structs.replace(mark, metric=metric)],
            undone=Undo("me", 1) if is_undone else None,
        ),
        marks(),
        st.sampled_from([str(METRIC), str(OTHER)]),
        st.sampled_from(["fine", "real"]),
        st.booleans(),
    ),
    max_size=6,
)


@given(FEEDBACK)
def test_what_is_said_of_a_metric_holds_of_no_other_and_nothing_of_what_was_undone(
    feedback: list[Feedback],
) -> None:
    found = by_metric(feedback)
    for metric in (str(METRIC), str(OTHER)):
        about = [each for each in feedback if each.marks[0].metric == metric and not each.undone]
        alone = by_metric(about).get(metric, NO_FEEDBACK)
        assert found.get(metric, NO_FEEDBACK) == alone
        assert len(alone.fine) + len(alone.real) == len(about)


# --- through the evaluation ---------------------------------------------------------------------


class Watched:
    """A machine, evaluated period by period from two days of history on."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values
        self.state, self.checkpoint = MetricState.empty(METRIC), None
        self.times = NOON_MS + STEP * np.arange(-2 * DAY, len(values) - 2 * DAY)

    def evaluate(self, until: int, feedback: MetricFeedback = NO_FEEDBACK) -> MetricEvaluation:
        """Evaluate what there is so many periods after noon."""
        end = NOON_MS + STEP * until
        readings = Series(self.times, self.values)[self.times < end]
        found = evaluate_metric(
            self.state, readings, end, end + 90_000, OPTIONS, None, self.checkpoint, feedback
        )
        self.state = found.state
        if found.update and found.update.checkpoint:
            self.checkpoint = found.update.checkpoint
        return found


def load(spikes: dict[int, float]) -> np.ndarray:
    values = normal_load(1)[: 2 * DAY + 40].copy()
    for period, height in spikes.items():
        values[2 * DAY + period] += height
    return values


def in_history(checkpoint: Checkpoint | None, start: int, stop: int) -> np.ndarray:
    """Return which readings from start to stop, ms, a detector compares others with."""
    assert checkpoint is not None
    state = checkpoint.history.state
    first, last = (time // state.period - state.base for time in (start, stop))
    return known(state)[first : last + 1]


SPIKES = st.dictionaries(
    st.integers(0, 20), st.sampled_from([-25.0, 20.0, 40.0, 60.0]), min_size=1, max_size=6
)


def stored(checkpoint: Checkpoint | None) -> dict[str, object]:
    """Return all that a detector has learnt."""
    assert checkpoint is not None
    kept = checkpoint.history.checkpoint()
    return {name: each.tobytes() for name, each in kept.tensors.items()} | dict(kept.parameters)


@settings(max_examples=10)
@given(SPIKES)
@example({3: 60.0, 4: 60.0})
def test_what_was_real_stays_out_of_history_and_is_in_it_again_after_undo(
    spikes: dict[int, float],
) -> None:
    start, stop = (NOON_MS + STEP * pick(spikes) for pick in (min, max))
    real = MetricFeedback(real=(Mark("a", str(METRIC), start, stop, 0.0, 100.0, 0.0, 60.0),))
    said, unsaid = Watched(load(spikes)), Watched(load(spikes))
    for each in (said, unsaid):
        each.evaluate(0)
        each.evaluate(25)
    said.evaluate(30, real)
    unsaid.evaluate(30)
    assert in_history(unsaid.checkpoint, start - 6 * STEP, start - STEP).any()
    assert not in_history(said.checkpoint, start, stop).any()
    said.evaluate(35)
    unsaid.evaluate(35)
    assert stored(said.checkpoint) == stored(unsaid.checkpoint)


@settings(max_examples=10)
@given(SPIKES)
def test_what_is_unlike_what_was_fine_counts_exactly_as_before(spikes: dict[int, float]) -> None:
    """A rise of 20 was fine: no fall, and nothing higher, is affected."""
    series = load(spikes)
    fine = MetricFeedback(fine=(Mark("a", str(METRIC), 0, 1, 48.0, 52.0, 0.0, 20.0),))
    said, unsaid = Watched(series), Watched(series)
    for each in (said, unsaid):
        each.evaluate(0)
    with_it, without = said.evaluate(25, fine).update, unsaid.evaluate(25).update
    found = without.evaluation
    like = is_like(found.series, found.detection, fine.fine)
    assert (with_it.evaluation.is_unusual == found.is_unusual).all(), "it stays visible"
    assert (with_it.evaluation.is_counted == found.is_counted & ~like).all()
    assert not like[found.series.values < 43.0].any()
    assert not like[found.series.values > 57.0].any()
    assert stored(said.checkpoint) == stored(unsaid.checkpoint), "and is learnt as ever"

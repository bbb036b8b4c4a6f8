"""Anomalies, from evaluations made by hand: one opens, lasts, and closes after a recovery.

A letter a period: `.` is normal, `!` raises an alert, `a` is anomalous within the alert before it,
and a space is a gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import Alert, Detection, Series
from ops_anomaly.watcher.anomalies import (
    CALM_MS,
    RECOVERY_PERIODS,
    RELAPSE_MS,
    RELAPSE_READINGS,
    AnomalyState,
    Closed,
    Evaluation,
    Opened,
    Provenance,
    advance,
)
from ops_anomaly.watcher.state import MetricState
from tests.support.watcher import NOON_MS

STEP = 300_000
METRIC = Metric("shop", "Orders", (), "Sum", 300)
NORMAL, UNUSUAL = 5.0, 20.0
THRESHOLD = 1.0
NONE_OPEN = AnomalyState()


def evaluation(
    letters: str,
    *,
    metric: Metric = METRIC,
    settled: int | None = None,
    changed: Iterable[int] = (),
    scores: dict[int, float] | None = None,
) -> Evaluation:
    """Return the evaluation of a period a letter.

    Parameters
    ----------
    settled
        How many periods have; anomalies of later ones do not count.
    changed
        Periods that CloudWatch has corrected.
    scores
        By period.
    """
    periods = np.array([n for n, letter in enumerate(letters) if letter != " "], np.int64)
    readings = letters.replace(" ", "")
    is_anomaly = np.array([letter in "!a" for letter in readings], bool)
    given = scores or {}
    every = [given.get(n, 2.0 * (letters[n] in "!a")) for n in periods.tolist()]
    starts = [position for position, letter in enumerate(readings) if letter == "!"]
    values = np.array([NORMAL if letter == "." else UNUSUAL for letter in readings])
    return Evaluation(
        series=Series(NOON_MS + 1000 * metric.period * periods, values),
        detection=Detection(
            scores=np.array(every, float),
            thresholds=np.full(len(readings), THRESHOLD),
            is_anomaly=is_anomaly,
            can_evaluate=np.ones(len(readings), bool),
            expected=np.full(len(readings), NORMAL),
            lower=np.zeros(len(readings)),
            upper=np.full(len(readings), 10.0),
            reasons={int(position): "so high" for position in np.flatnonzero(is_anomaly)},
            alerts=[Alert(start, start, start, "rise") for start in starts],
        ),
        is_unusual=is_anomaly & (periods < (len(letters) if settled is None else settled)),
        is_counted=np.array([letter != "u" for letter in readings], bool),
        is_changed=np.isin(periods, list(changed)),
        provenance=Provenance(entry="shop", model=None, version=None, readings=300, confidence=0.6),
    )


def advanced(
    letters: str,
    state: AnomalyState = NONE_OPEN,
    found: Evaluation | None = None,
    *,
    metric: Metric = METRIC,
    settled: int | None = None,
    **more: Any,
) -> tuple[AnomalyState, list[Opened | Closed]]:
    """Advance by the evaluation of these letters, or by another one of the same readings."""
    values = np.array([np.nan if letter == " " else 0.0 for letter in letters])
    known = MetricState(metric, NOON_MS, values)
    until = known.end if settled is None else NOON_MS + settled * known.step
    found = found or evaluation(letters, metric=metric, settled=settled, **more)
    return advance(state, metric, known.series, until, found)


def evaluated(periods: int) -> AnomalyState:
    """Return the state after so many periods in which nothing was unusual."""
    return AnomalyState(evaluated_until=NOON_MS + periods * STEP)


def period(time: int) -> int:
    return (time - NOON_MS) // STEP


def transitions(steps: list[Opened | Closed]) -> list[tuple]:
    """Return where anomalies opened, and where and why they closed."""
    return [
        ("opened", period(step.anomaly.first_seen))
        if isinstance(step, Opened)
        else ("closed", period(step.anomaly.last_seen), step.reason)
        for step in steps
    ]


def test_consecutive_anomalous_readings_are_one_anomaly() -> None:
    state, [step] = advanced("...!aaa")
    assert step == Opened(state.anomaly)
    anomaly = state.anomaly
    assert (period(anomaly.first_seen), period(anomaly.last_seen), anomaly.readings) == (3, 6, 4)


def test_further_readings_of_an_incident_cause_no_transition() -> None:
    state, _ = advanced("...!")
    state, steps = advanced("...!aa.a", state)
    assert steps == []
    assert state.anomaly.readings == 4


def test_normal_readings_open_nothing() -> None:
    assert advanced("..........") == (evaluated(10), [])


def test_an_incident_names_the_member_that_raised_the_alert() -> None:
    state, _ = advanced("...!a")
    assert state.anomaly.member == "rise"


@pytest.mark.parametrize("minutes", [1, 5, 60])
@pytest.mark.parametrize("outage", [15, 30, 60, 240])
def test_an_outage_is_one_opening_and_one_closing_within_four_readings(
    minutes: int, outage: int
) -> None:
    letters = "..!" + "a" * (max(outage // minutes, 1) - 1)
    metric = replace(METRIC, period=60 * minutes)
    state, steps, closed_at = NONE_OPEN, [], None
    for tick in range(1, len(letters) + 61):
        seen = (letters + "." * 60)[:tick]
        state, found = advanced(seen, state, metric=metric)
        steps += found
        closed_at = tick if isinstance(found[-1:] and found[-1], Closed) else closed_at
    assert [type(step) for step in steps] == [Opened, Closed]
    assert steps[0].anomaly.id == steps[1].anomaly.id
    assert closed_at is not None
    assert closed_at - len(letters) <= 4


def test_an_incident_closes_after_the_recovery_periods() -> None:
    state, steps = advanced("..!a" + "." * (RECOVERY_PERIODS - 1))
    assert transitions(steps) == [("opened", 2)]
    state, steps = advanced("..!a" + "." * RECOVERY_PERIODS, state)
    assert transitions(steps) == [("closed", 3, "recovered")]
    assert state.anomaly is None


def test_an_unusual_reading_during_the_recovery_keeps_it_open() -> None:
    state, steps = advanced("!" + "." * (RECOVERY_PERIODS - 1) + "a")
    assert transitions(steps) == [("opened", 0)]
    assert period(state.anomaly.last_seen) == RECOVERY_PERIODS


def test_the_incident_of_a_metric_without_data_closes() -> None:
    assert transitions(advanced("..!a" + " " * (RECOVERY_PERIODS - 1))[1]) == [("opened", 2)]
    assert transitions(advanced("..!a" + " " * RECOVERY_PERIODS)[1]) == [
        ("opened", 2),
        ("closed", 3, "no data"),
    ]


def test_one_normal_reading_before_the_data_ends_is_a_recovery() -> None:
    _, steps = advanced("!." + " " * RECOVERY_PERIODS)
    assert transitions(steps) == [("opened", 0), ("closed", 0, "recovered")]


def test_a_backlog_of_hours_is_handled_in_order() -> None:
    _, steps = advanced("!aa" + "." * 30 + "!a" + "." * 30 + "!")
    assert transitions(steps) == [
        ("opened", 0),
        ("closed", 2, "recovered"),
        ("opened", 33),
        ("closed", 34, "recovered"),
        ("opened", 65),
    ]


RECOVERED = "!" + "." * (RECOVERY_PERIODS + 1)
LASTING = max(RELAPSE_MS // STEP, RELAPSE_READINGS)


@pytest.mark.parametrize("flicker", ["a", "aa", "a" * (LASTING - 1), ("a" + "." * 4) * 5])
@pytest.mark.parametrize("is_warm", [True, False])
def test_readings_that_flicker_after_an_incident_open_nothing(flicker: str, is_warm: bool) -> None:
    state, steps = advanced(RECOVERED)
    assert transitions(steps) == [("opened", 0), ("closed", 0, "recovered")]
    history = "." * len(RECOVERED) if is_warm else RECOVERED  # a warm detector has no old alerts
    after, steps = advanced(history + flicker, state)
    assert (after.anomaly, steps) == (None, [])


def test_a_metric_that_is_unusual_again_for_long_opens_another_anomaly() -> None:
    state, _ = advanced(RECOVERED)
    relapse = "a" * LASTING
    state, [opened] = advanced(RECOVERED + relapse, state)
    assert period(opened.anomaly.first_seen) == len(RECOVERED)
    assert (opened.anomaly.readings, opened.anomaly.member) == (LASTING, None)
    calm = CALM_MS // STEP
    assert advanced(RECOVERED + relapse + "." * (calm - 1), state)[1] == []
    _, [closed] = advanced(RECOVERED + relapse + "." * calm, state)
    assert (closed.anomaly.id, closed.reason) == (opened.anomaly.id, "recovered")


@pytest.mark.parametrize("failing", ["aa....", "a...", "aa.........."], ids=len)
def test_what_comes_and_goes_for_half_a_day_is_two_incidents(failing: str) -> None:
    """The second is open as long as it flaps; ten minutes of an hour take two hours to be one."""
    state, _ = advanced(RECOVERED)
    letters = RECOVERED + failing * (144 // len(failing)) + "." * 24
    assert [type(step) for step in advanced(letters, state)[1]] == [Opened, Closed]


def test_a_relapse_with_short_recoveries_lasts() -> None:
    state, _ = advanced(RECOVERED)
    letters = RECOVERED + ("a" + "." * (RECOVERY_PERIODS - 1)) * LASTING
    assert [type(step) for step in advanced(letters, state)[1]] == [Opened]


def test_two_readings_are_no_relapse_however_far_apart() -> None:
    hourly = replace(METRIC, period=3_600)
    state, _ = advanced(RECOVERED, metric=hourly)
    letters = RECOVERED + "a" * (RELAPSE_READINGS - 1)
    assert advanced(letters, state, metric=hourly)[1] == []


def test_the_next_alert_opens_a_new_anomaly() -> None:
    state, _ = advanced(RECOVERED)
    assert transitions(advanced(RECOVERED + "a!", state)[1]) == [("opened", len(RECOVERED) + 1)]


def test_the_same_readings_again_change_nothing() -> None:
    letters = "..!aaa"
    state, _ = advanced(letters)
    assert advanced(letters, state) == (state, [])


def test_an_alert_that_began_before_what_is_due_opens_where_it_began() -> None:
    state, steps = advanced("..!aa.a", evaluated(4))
    assert transitions(steps) == [("opened", 2)]
    assert state.anomaly.readings == 4


def test_an_alert_that_was_over_before_what_is_due_opens_nothing() -> None:
    assert advanced("..!aa....", evaluated(6)) == (evaluated(9), [])


def test_an_incident_opens_with_its_worst_reading_so_far() -> None:
    _, [step] = advanced("!aa", scores={0: 2.0, 1: 9.0, 2: 3.0})
    peak = step.anomaly.peak
    assert (period(peak.time), peak.score, peak.severity, peak.reason) == (1, 9.0, 0.9, "so high")
    assert (peak.value, peak.expected, peak.lower, peak.upper) == (UNUSUAL, NORMAL, 0.0, 10.0)


def test_a_less_unusual_reading_does_not_replace_the_worst() -> None:
    state, _ = advanced("!", scores={0: 9.0})
    after, _ = advanced("!a", state, scores={0: 9.0, 1: 2.0})
    assert after.anomaly.peak == state.anomaly.peak


def test_unknown_bounds_are_none() -> None:
    found = evaluation("!")
    nothing = np.array([np.nan])
    unknown = replace(found.detection, expected=nothing, lower=nothing, upper=nothing)
    _, [step] = advanced("!", found=replace(found, detection=unknown))
    peak = step.anomaly.peak
    assert (peak.expected, peak.lower, peak.upper) == (None, None, None)


def test_an_incident_has_the_same_id_whoever_finds_it() -> None:
    _, [mine] = advanced("..!aa")
    _, [theirs] = advanced("..!aaa.a", evaluated(3))
    assert mine.anomaly.id == theirs.anomaly.id


def test_incidents_of_other_metrics_and_times_have_other_ids() -> None:
    letters = "!" + "." * 20 + "!"
    other = replace(METRIC, name="Visits")
    steps = [step for metric in (METRIC, other) for step in advanced(letters, metric=metric)[1]]
    assert len({step.anomaly.id for step in steps if isinstance(step, Opened)}) == 4


def test_a_backlog_with_a_long_gap_closes_for_lack_of_data() -> None:
    _, steps = advanced("!" + " " * (RECOVERY_PERIODS + 2) + "!")
    assert [step.reason for step in steps if isinstance(step, Closed)] == ["no data"]


# --- readings that have not settled -------------------------------------------------------------


def test_what_has_not_settled_opens_nothing_until_it_has() -> None:
    state, steps = advanced("..!a", settled=2)
    assert (state, steps) == (evaluated(2), [])
    state, steps = advanced("..!a.", state, settled=3)
    assert transitions(steps) == [("opened", 2)]
    assert state.anomaly.readings == 1
    state, steps = advanced("..!a..", state, settled=4)
    assert (steps, state.anomaly.readings) == ([], 2)


def test_an_incident_does_not_close_by_readings_that_have_not_settled() -> None:
    letters = "!" + "." * RECOVERY_PERIODS
    state, steps = advanced(letters, settled=RECOVERY_PERIODS)
    assert transitions(steps) == [("opened", 0)]
    _, steps = advanced(letters + ".", state, settled=RECOVERY_PERIODS + 1)
    assert transitions(steps) == [("closed", 0, "recovered")]


def high_already(letters: str, settled: int, *high: int) -> tuple[Evaluation, int]:
    """Return an evaluation in which some readings count before they have settled."""
    found = evaluation(letters, settled=settled)
    periods = (found.series.times - NOON_MS) // STEP
    return replace(found, is_unusual=found.is_unusual | np.isin(periods, high)), settled


def test_a_reading_that_counts_before_it_has_settled_counts_once() -> None:
    state = NONE_OPEN
    steps = []
    for letters, *high in [("..!", 2), ("..!a", 2, 3), ("..!a.", 2, 3), ("..!a..", 3)]:
        found, settled = high_already(letters, len(letters) - 2, *high)
        state, more = advanced(letters, state, found, settled=settled)
        steps += more
    assert transitions(steps) == [("opened", 2)]
    assert state.anomaly.readings == 2


def test_a_reading_that_counted_before_it_had_settled_is_corrected_like_any_other() -> None:
    found, settled = high_already("..!", 1, 2)
    state, _ = advanced("..!", found=found, settled=settled)
    assert state.evaluated_until == NOON_MS + 2 * STEP + 1


def test_nothing_is_lost_of_what_has_not_settled_after_a_reading_that_counted() -> None:
    found, settled = high_already("..!a", 2, 2)
    state, _ = advanced("..!a", found=found, settled=settled)
    state, _ = advanced("..!a...", state, settled=5)
    assert state.anomaly.readings == 2


# --- readings that were corrected ---------------------------------------------------------------


def test_an_incident_of_which_nothing_is_unusual_any_more_is_withdrawn() -> None:
    state, [opened] = advanced("..!a")
    state, steps = advanced(".....", state, changed=[2, 3])
    assert transitions(steps) == [("closed", 3, "withdrawn")]
    assert steps[0].anomaly == opened.anomaly
    assert state.anomaly is None
    assert advanced("......", state) == (replace(state, evaluated_until=NOON_MS + 6 * STEP), [])


def test_an_incident_may_rest_on_a_reading_that_is_not_its_own() -> None:
    """What was expected has changed with the reading before it."""
    state, _ = advanced("..!")
    assert transitions(advanced("....", state, changed=[1])[1]) == [("closed", 2, "withdrawn")]


def test_without_a_correction_an_incident_stays_whatever_the_detector_finds_now() -> None:
    state, _ = advanced("..!a")
    after, steps = advanced(".....", state)
    assert (after.anomaly, steps) == (state.anomaly, [])


def test_an_incident_that_began_before_what_is_evaluated_stays() -> None:
    state, _ = advanced("..!a")
    found = evaluation(".....", changed=[3])
    later = found.series.times >= NOON_MS + 3 * STEP
    found = replace(
        found,
        series=found.series[later],
        is_unusual=found.is_unusual[later],
        is_changed=found.is_changed[later],
    )
    after, steps = advanced(".....", state, found)
    assert (after.anomaly, steps) == (state.anomaly, [])


@pytest.mark.parametrize(
    ("now", "changed", "readings", "last_seen"),
    [("..!.a", 3, 2, 4), ("..!a.", 4, 2, 3), ("...aa", 2, 2, 4), ("..!..", 3, 1, 2)],
)
def test_an_incident_is_what_is_left_of_it(
    now: str, changed: int, readings: int, last_seen: int
) -> None:
    state, [opened] = advanced("..!aa")
    after, steps = advanced(now, state, changed=[changed])
    assert (after.anomaly.readings, period(after.anomaly.last_seen)) == (readings, last_seen)
    assert (after.anomaly.id, steps) == (opened.anomaly.id, [])


def test_an_incident_whose_last_reading_was_corrected_closes_earlier() -> None:
    state, _ = advanced("!" + "." * (RECOVERY_PERIODS - 1) + "a")
    _, steps = advanced("!" + "." * RECOVERY_PERIODS, state, changed=[RECOVERY_PERIODS])
    assert transitions(steps) == [("closed", 0, "recovered")]


def test_the_worst_reading_of_an_incident_is_by_present_values() -> None:
    state, _ = advanced("!a", scores={0: 2.0, 1: 9.0})
    after, _ = advanced("!a.", state, changed=[1], scores={0: 2.0, 1: 1.5})
    peak = after.anomaly.peak
    assert (period(peak.time), peak.score) == (0, 2.0)


def test_a_late_reading_within_the_open_incident_belongs_to_it() -> None:
    state, _ = advanced(".!a .a")
    after, steps = advanced(".!aa.a", state, changed=[3])
    assert (steps, after.anomaly.readings) == ([], 4)
    assert after.anomaly.last_seen == state.anomaly.last_seen
    assert after.notified_until == state.notified_until


def test_a_late_reading_after_the_last_one_extends_the_anomaly() -> None:
    state, _ = advanced(".!. ")
    after, steps = advanced(".!.a.", state, changed=[3])
    assert (steps, after.anomaly.readings, period(after.anomaly.last_seen)) == ([], 2, 3)


def test_a_reading_that_becomes_unusual_by_a_correction_opens_an_anomaly() -> None:
    state, _ = advanced(".....")
    state, steps = advanced("...!..", state, changed=[3])
    assert transitions(steps) == [("opened", 3)]


def test_a_reading_that_becomes_unusual_after_the_incident_was_over_opens_and_closes_another() -> (
    None
):
    state, _ = advanced("........")
    _, steps = advanced("...!.....", state, changed=[3])
    assert transitions(steps) == [("opened", 3), ("closed", 3, "recovered")]


def test_an_incident_is_withdrawn_before_the_next_one_opens() -> None:
    state, _ = advanced("..!.")
    after, steps = advanced("....!", state, changed=[2])
    assert transitions(steps) == [("closed", 2, "withdrawn"), ("opened", 4)]
    assert after.anomaly == steps[1].anomaly


def test_a_relapse_that_was_corrected_is_forgotten() -> None:
    state, _ = advanced(RECOVERED)
    state, _ = advanced(RECOVERED + "aa", state)
    assert state.relapse.readings == 2
    corrected = len(RECOVERED), len(RECOVERED) + 1
    after, steps = advanced(RECOVERED + "...", state, changed=corrected)
    assert (after.relapse, steps) == (None, [])


# --- readings in any portions -------------------------------------------------------------------

RUNS = st.sampled_from([".", " "]).flatmap(
    lambda letter: st.integers(1, RECOVERY_PERIODS + 3).map(lambda count: letter * count)
)
LETTERS = st.lists(RUNS | st.sampled_from("!a"), max_size=30).map("".join)


def consistent(letters: str) -> str:
    """Make every anomaly belong to an alert, as those of every detector do."""
    before, bang, after = letters.partition("!")
    return before.replace("a", ".") + bang + after


@given(LETTERS.map(consistent), st.sets(st.integers(1, 200)), st.booleans(), st.integers(0, 5))
def test_incidents_do_not_depend_on_how_readings_are_divided_into_evaluations(
    letters: str, cuts: set[int], is_warm: bool, settling: int
) -> None:
    """Each time, the last readings may not have settled."""
    _, together = advanced(letters)
    state, steps, settled = NONE_OPEN, [], 0
    for until in [*sorted(cut for cut in cuts if cut < len(letters)), len(letters) + settling]:
        history = letters[:settled]
        if is_warm:  # a detector that resumes reports no earlier alerts
            history = "".join(" " if letter == " " else "." for letter in history)
        seen = history + letters[settled:until]
        settled = max(until - settling, 0)
        state, found = advanced(seen, state, settled=settled)
        steps += found
    assert all(isinstance(step, Opened) for step in steps[::2])
    assert all(isinstance(step, Closed) for step in steps[1::2])
    assert [step.anomaly.id for step in steps] == [step.anomaly.id for step in together]


# --- the new normal -----------------------------------------------------------------------------


def closed_after(values: list[float]) -> str:
    """Return why an anomaly of readings of 20, where 0 to 10 was normal, closes before others."""
    state, _ = advanced("...!aaaa")
    times = NOON_MS + STEP * np.arange(8, 8 + len(values))
    series = Series(times, np.array(values))
    _, [closed] = advance(state, METRIC, series, NOON_MS + STEP * 20, None)
    assert isinstance(closed, Closed)
    return closed.reason


def test_a_metric_that_stays_where_it_was_unusual_has_not_recovered() -> None:
    assert closed_after([20.0, 20.0, 20.0, 20.0]) == "new normal"


@pytest.mark.parametrize(
    "values", [[5.0] * 4, [20.0, 5.0, 5.0, 5.0], [12.0] * 4], ids=["back", "on its way", "between"]
)
def test_a_metric_that_goes_back_has_recovered(values: list[float]) -> None:
    assert closed_after(values) == "recovered"

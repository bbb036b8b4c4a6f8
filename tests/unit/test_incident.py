"""Incidents, from verdicts made by hand: one opens, lasts, and ends once all is ordinary.

A letter a period: `.` is ordinary, `!` raises an alert, `a` is anomalous within the alert before
it, `o` is outside of the bounds but no anomaly, and a space is no reading.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.types import Alert, Detection
from ops_anomaly.watcher.evaluation import Evaluation
from ops_anomaly.watcher.incidents import (
    RECOVERY_PERIODS,
    Closed,
    IncidentState,
    Opened,
    Provenance,
    advance_incident,
)
from ops_anomaly.watcher.shard_job import ended_if_over
from ops_anomaly.watcher.state import MetricState
from tests.support.watcher import NOON

PERIOD = 300
METRIC = Metric("shop", "Orders", (), "Sum", PERIOD)
ORDINARY, UNUSUAL = 5.0, 20.0
BAR = 1.0


def judgement(
    verdicts: str, fresh_from: int = 0, scores: dict[int, float] | None = None
) -> Evaluation:
    """Return the verdicts on a period a letter; those from `fresh_from` on are fresh."""
    slots = np.array([slot for slot, letter in enumerate(verdicts) if letter != " "], np.int64)
    letters = verdicts.replace(" ", "")
    is_anomaly = np.array([letter in "!a" for letter in letters], bool)
    given = scores or {}
    every = [given.get(slot, 2.0 * (verdicts[slot] in "!a")) for slot in slots.tolist()]
    starts = [position for position, letter in enumerate(letters) if letter == "!"]
    return Evaluation(
        times=NOON + PERIOD * slots,
        values=np.array([ORDINARY if letter == "." else UNUSUAL for letter in letters]),
        detection=Detection(
            scores=np.array(every, float),
            bar=np.full(len(letters), BAR),
            is_anomaly=is_anomaly,
            expected=np.full(len(letters), ORDINARY),
            lower=np.zeros(len(letters)),
            upper=np.full(len(letters), 10.0),
            reasons={int(position): "so high" for position in np.flatnonzero(is_anomaly)},
            alerts=[Alert(start, start, start) for start in starts],
        ),
        fresh=np.flatnonzero(slots >= fresh_from).tolist(),
        provenance=Provenance(entry="shop", model=None, version=None, readings=300, confidence=0.6),
        followed=0,
        place=None,
    )


NOTHING_YET = IncidentState()


def looked(
    verdicts: str, fresh_from: int = 0, course: IncidentState = NOTHING_YET
) -> tuple[IncidentState, list[Opened | Closed]]:
    """Take verdicts into account as a look does, and end what is over by then."""
    judged = judgement(verdicts, fresh_from)
    course, steps = advance_incident(course, METRIC, judged)
    slots = np.array([np.nan if letter == " " else 0.0 for letter in verdicts])
    grid, ended = ended_if_over(MetricState(METRIC, NOON, slots, course))
    return grid.course, [*steps, *ended]


def slot(time: int) -> int:
    return (time - NOON) // PERIOD


def told(steps: list[Opened | Closed]) -> list[tuple]:
    """Return what is told: where incidents began, and where and why they ended."""
    return [
        ("opened", slot(step.incident.first_seen))
        if isinstance(step, Opened)
        else ("closed", slot(step.incident.last_seen), step.because)
        for step in steps
    ]


def test_consecutive_anomalous_readings_are_one_incident() -> None:
    course, [step] = looked("...!aaa")
    assert step == Opened(course.incident)
    incident = course.incident
    assert (slot(incident.first_seen), slot(incident.last_seen), incident.readings) == (3, 6, 4)


def test_further_readings_of_an_incident_tell_nothing() -> None:
    course, _ = looked("...!")
    course, steps = looked("...!aa.a", fresh_from=4, course=course)
    assert steps == []
    assert course.incident.readings == 4


def test_ordinary_readings_and_those_only_out_of_bounds_open_nothing() -> None:
    assert looked("..oo..o...") == (IncidentState(), [])


def test_an_incident_lasts_while_readings_are_out_of_bounds() -> None:
    course, steps = looked("!" + "o" * 5 * RECOVERY_PERIODS)
    assert told(steps) == [("opened", 0)]
    assert slot(course.incident.last_seen) == 5 * RECOVERY_PERIODS
    assert course.incident.readings == 1 + 5 * RECOVERY_PERIODS


def test_an_incident_ends_after_so_many_ordinary_periods() -> None:
    course, steps = looked("..!a" + "." * (RECOVERY_PERIODS - 1))
    assert told(steps) == [("opened", 2)]
    course, steps = looked(
        "..!a" + "." * RECOVERY_PERIODS, fresh_from=RECOVERY_PERIODS + 3, course=course
    )
    assert told(steps) == [("closed", 3, "quiet")]
    assert course.incident is None


def test_an_unusual_reading_within_the_quiet_keeps_it_going() -> None:
    course, steps = looked("!" + "." * (RECOVERY_PERIODS - 1) + "a")
    assert told(steps) == [("opened", 0)]
    assert slot(course.incident.last_seen) == RECOVERY_PERIODS


def test_an_incident_of_a_metric_that_vanishes_ends_for_lack_of_data() -> None:
    assert told(looked("..!a" + " " * (RECOVERY_PERIODS - 1))[1]) == [("opened", 2)]
    assert told(looked("..!a" + " " * RECOVERY_PERIODS)[1]) == [
        ("opened", 2),
        ("closed", 3, "no data"),
    ]


def test_one_ordinary_reading_before_it_vanishes_is_a_quiet_end() -> None:
    _, steps = looked("!." + " " * RECOVERY_PERIODS)
    assert told(steps) == [("opened", 0), ("closed", 0, "quiet")]


def test_a_backlog_of_hours_is_told_in_order() -> None:
    _, steps = looked("!aa" + "." * 30 + "!a" + "." * 30 + "!")
    assert told(steps) == [
        ("opened", 0),
        ("closed", 2, "quiet"),
        ("opened", 33),
        ("closed", 34, "quiet"),
        ("opened", 65),
    ]


def test_in_the_pause_after_an_alert_that_was_told_nothing_opens() -> None:
    quiet = "!" + "." * (RECOVERY_PERIODS + 1)
    course, steps = looked(quiet)
    assert told(steps) == [("opened", 0), ("closed", 0, "quiet")]
    assert looked(quiet + "aa", len(quiet), course) == (course, [])
    assert looked("." * len(quiet) + "aa", len(quiet), course) == (course, [])  # a warm detector


def test_the_next_alert_opens_again() -> None:
    quiet = "!" + "." * (RECOVERY_PERIODS + 1)
    course, _ = looked(quiet)
    assert told(looked(quiet + "a!", len(quiet), course)[1]) == [("opened", len(quiet) + 1)]


def test_the_same_readings_again_change_nothing() -> None:
    verdicts = "..!aao"
    course, _ = looked(verdicts)
    assert looked(verdicts, len(verdicts), course) == (course, [])


def test_an_alert_that_began_before_the_first_look_opens_where_it_began() -> None:
    course, steps = looked("..!aa.a", fresh_from=4)
    assert told(steps) == [("opened", 2)]
    assert course.incident.readings == 4


def test_an_alert_that_was_over_before_the_first_look_opens_nothing() -> None:
    assert looked("..!aa....", fresh_from=6) == (IncidentState(), [])


def test_a_late_reading_belongs_to_the_incident_that_lasts() -> None:
    course, _ = looked(".. .!a")
    late = replace(judgement("..a.!a"), fresh=[2])
    after, steps = advance_incident(course, METRIC, late)
    assert steps == []
    assert after.incident.readings == 3
    assert after.incident.last_seen == course.incident.last_seen
    assert after.notified_until == course.notified_until


def test_the_worst_reading_of_a_look_is_told_with_the_opening() -> None:
    judged = judgement("!aa", scores={0: 2.0, 1: 9.0, 2: 3.0})
    _, [step] = advance_incident(IncidentState(), METRIC, judged)
    peak = step.incident.peak
    assert (slot(peak.time), peak.score, peak.severity, peak.reason) == (1, 9.0, 0.9, "so high")
    assert (peak.value, peak.expected, peak.lower, peak.upper) == (UNUSUAL, ORDINARY, 0.0, 10.0)


def test_a_reading_that_is_less_unusual_does_not_change_the_worst() -> None:
    course, _ = advance_incident(IncidentState(), METRIC, judgement("!", scores={0: 9.0}))
    after, _ = advance_incident(course, METRIC, judgement("!a", 1, scores={0: 9.0, 1: 2.0}))
    assert after.incident.peak == course.incident.peak


def test_what_is_not_known_of_a_reading_is_left_out() -> None:
    judged = judgement("!")
    nothing = np.array([np.nan])
    unknown = replace(judged.detection, expected=nothing, lower=nothing, upper=nothing)
    _, [step] = advance_incident(IncidentState(), METRIC, replace(judged, detection=unknown))
    peak = step.incident.peak
    assert (peak.expected, peak.lower, peak.upper) == (None, None, None)


def test_an_incident_has_the_same_id_whoever_finds_it() -> None:
    _, [mine] = looked("..!aa")
    _, [theirs] = looked("..!aaa.o", fresh_from=3)
    assert mine.incident.id == theirs.incident.id


def test_incidents_of_other_metrics_and_times_have_other_ids() -> None:
    judged = judgement("!" + "." * 20 + "!")
    other = replace(METRIC, name="Visits")
    steps = [
        step for m in (METRIC, other) for step in advance_incident(IncidentState(), m, judged)[1]
    ]
    assert len({step.incident.id for step in steps if isinstance(step, Opened)}) == 4


RUNS = st.sampled_from([".", " "]).flatmap(
    lambda letter: st.integers(1, RECOVERY_PERIODS + 3).map(lambda count: letter * count)
)
VERDICTS = st.lists(RUNS | st.sampled_from("!ao"), max_size=30).map("".join)


def consistent(verdicts: str) -> str:
    """Make every anomaly belong to an alert, as those of every detector do."""
    before, bang, after = verdicts.partition("!")
    return before.replace("a", ".") + bang + after


@given(VERDICTS.map(consistent), st.sets(st.integers(1, 200)), st.booleans())
def test_incidents_do_not_depend_on_how_readings_are_cut_into_looks(
    verdicts: str, cuts: set[int], is_warm: bool
) -> None:
    _, at_once = looked(verdicts)
    course, steps, seen = IncidentState(), [], 0
    for until in [*sorted(cut for cut in cuts if cut < len(verdicts)), len(verdicts)]:
        past = verdicts[:seen]
        if is_warm:  # a detector that goes on says nothing of what came before
            past = "".join(" " if letter == " " else "." for letter in past)
        course, found = looked(past + verdicts[seen:until], seen, course)
        steps, seen = [*steps, *found], until
    assert all(isinstance(step, Opened) for step in steps[::2])
    assert all(isinstance(step, Closed) for step in steps[1::2])
    assert [step.incident.id for step in steps] == [step.incident.id for step in at_once]

"""Incidents over many metrics: what belongs together, and that people are notified once."""

from __future__ import annotations

import msgspec
import pytest

from ops_anomaly.watcher.anomalies import ReportedAnomaly
from ops_anomaly.watcher.feedback import Feedback
from ops_anomaly.watcher.grouping import GROUP_PERIODS
from ops_anomaly.watcher.incidents import (
    HOLD_MS,
    KEPT_MS,
    LOST_MS,
    MAX_CHARTS,
    MAX_KEPT,
    REPORTED_MS,
    IncidentClosed,
    IncidentJoined,
)
from ops_anomaly.watcher.mutes import Mute
from ops_anomaly.watcher.outbox import MESSAGE
from ops_anomaly.watcher.watch_file import Options
from tests.support.boards import simulated
from tests.support.incidents import MINUTE, PERIOD, Folding, lasting, over, reported
from tests.support.watcher import NOON_MS

DAY = 1_440
REACH = GROUP_PERIODS * PERIOD * 1000 // MINUTE
"""Minutes within which anomalies of five-minute metrics begin together."""


@pytest.fixture
def folding() -> Folding:
    return Folding()


def members(folding: Folding) -> list[list[str]]:
    """The metrics of each incident on the board, the newest first."""
    return [
        [each.metric.removeprefix("shop ").removesuffix(f" Sum {PERIOD}") for each in one.members]
        for one in folding.board.incidents
    ]


# --- what belongs together ----------------------------------------------------------------------


def test_thirty_metrics_that_fall_together_are_one_opening_and_one_closing(
    folding: Folding,
) -> None:
    down = [
        reported(f"Requests Host=h{n:02} Cluster=eu", n % 3 * 5, severity=0.5 + n / 100)
        for n in range(30)
    ]
    folding.fold(16, down)
    assert folding.changes == [("opened", 30)]
    folding.fold(60, [over(each, 50 + n // 3) for n, each in enumerate(down)])
    assert folding.changes == [("opened", 30), ("closed", 30)]


def test_the_worst_member_is_the_first_and_of_those_alike_who_was_unusual_first(
    folding: Folding,
) -> None:
    folding.fold(
        10,
        [
            reported("Mild Page=a", severity=0.6),
            reported("Later Page=a", 5, severity=0.91),
            reported("Earlier Page=a", severity=0.89),
        ],
    )
    assert members(folding) == [["Earlier Page=a", "Later Page=a", "Mild Page=a"]]


@pytest.mark.parametrize(
    ("other", "together"),
    [
        (reported("Latency Page=cart"), True),  # the same value of a dimension
        (reported("Latency Page=home"), False),
        (reported("Latency Server=cart"), False),
        (reported("Latency Page=home", entry="payments"), True),  # of the same group
        (reported("Latency Page=home", entry="search"), False),
        (reported("Latency Page=cart", REACH), True),
        (reported("Latency Page=cart", REACH + 1), False),
        # hours of an hourly metric
        (reported("Latency Page=cart", 180, period=3_600), True),
        (reported("Latency Page=cart", 181, period=3_600), False),
    ],
)
def test_what_begins_together_and_shares_something_is_one_incident(
    other: ReportedAnomaly, together: bool
) -> None:
    groups = {"checkout": "shop", "payments": "shop", "search": "search"}
    folding = Folding(**{name: Options(name=name, group=group) for name, group in groups.items()})
    folding.fold(300, [reported("Errors Page=cart", entry="checkout"), other])
    assert folding.changes == ([("opened", 2)] if together else [("opened", 1)] * 2)


def test_what_has_nothing_in_common_directly_may_be_connected_by_a_third(
    folding: Folding,
) -> None:
    folding.fold(
        10,
        [
            reported("Errors Page=cart"),
            reported("Load Host=db"),
            reported("Time Page=cart Host=db", 5),
        ],
    )
    assert folding.changes == [("opened", 3)]


def test_what_begins_between_two_that_belong_together_belongs_to_them(folding: Folding) -> None:
    """An hourly metric reaches back beyond one of five minutes, which is as near to it."""
    folding.fold(
        300,
        [
            reported("Errors Page=a"),
            reported("Time Page=a", 100),
            reported("Orders Page=a", 110, period=3_600),
        ],
    )
    assert folding.changes == [("opened", 3)]


def test_a_metric_that_is_unusual_again_joins_its_own_incident_while_that_is_open(
    folding: Folding,
) -> None:
    first, other = reported("Errors Page=a", end=30), reported("Time Page=a")
    folding.fold(5, [reported("Errors Page=a"), other])
    folding.fold(80, [first, other, reported("Errors Page=a", 75)])
    assert folding.changes == [("opened", 2), ("joined", 3)]


def test_a_new_incident_begins_once_the_last_is_over(folding: Folding) -> None:
    first = reported("Errors Page=a", end=30)
    folding.fold(31, [first])
    folding.fold(40, [first, reported("Errors Page=a", 35)])
    assert folding.changes == [("opened", 1), ("closed", 1), ("opened", 1)]


def test_members_of_an_incident_stay_together_when_their_groups_are_renamed() -> None:
    folding = Folding(a=Options(name="a", group="x"), b=Options(name="b", group="x"))
    down = [reported("One", entry="a"), reported("Two", entry="b")]
    folding.fold(5, down)
    folding.entries = {name: Options(name=name, group=name) for name in "ab"}
    more = [reported("Three", 5, entry="a"), reported("Four", 5, entry="b")]
    folding.fold(10, [*down, *more])
    folding.fold(11, [*down, *more])
    assert folding.changes == [("opened", 2), ("joined", 4)]


# --- late joiners -------------------------------------------------------------------------------


def test_late_joiners_are_an_update_and_no_second_opening(folding: Folding) -> None:
    down = [reported("Errors Page=a", severity=0.7)]
    folding.fold(5, down)
    down += [reported("Time Page=a", 10, severity=0.95), reported("Load Page=a", 10)]
    [joined] = folding.fold(15, down)
    assert isinstance(joined, IncidentJoined)
    assert [each.metric for each in joined.joined] == [down[2].metric, down[1].metric]
    assert members(folding) == [["Time Page=a", "Load Page=a", "Errors Page=a"]]
    assert folding.board.incidents[0].opened_at == NOON_MS + 5 * MINUTE


def test_only_the_first_members_keep_their_charts(folding: Folding) -> None:
    chart = simulated(30.0, 5.0, 0.3, NOON_MS, NOON_MS, 0.0)
    folding.fold(
        5,
        [
            msgspec.structs.replace(reported(f"Errors{n} Page=a"), chart=chart)
            for n in range(MAX_CHARTS + 2)
        ],
    )
    [incident] = folding.board.incidents
    assert [each.chart is None for each in incident.members] == [False] * MAX_CHARTS + [True] * 2


# --- holding ------------------------------------------------------------------------------------


def test_over_several_shards_an_anomaly_waits_for_others_and_then_all_are_one_message() -> None:
    folding = Folding(hold=HOLD_MS)
    down = [reported("Errors Page=a")]
    folding.fold(5.4, down)
    assert folding.changes == []
    folding.fold(5.6, [*down, reported("Time Page=a")])
    assert folding.changes == [("opened", 2)]


def test_what_is_over_is_held_no_longer() -> None:
    folding = Folding(hold=HOLD_MS)
    folding.fold(5.1, [reported("Errors Page=a", end=5)])
    assert folding.changes == [("opened", 1), ("closed", 1)]


def test_what_is_withdrawn_while_it_is_held_is_never_notified() -> None:
    folding = Folding(hold=HOLD_MS)
    folding.fold(5.1, [reported("Errors Page=a")])
    folding.fold(6, [reported("Errors Page=a", end=6, reason="withdrawn")])
    assert folding.changes == []


# --- mutes --------------------------------------------------------------------------------------


def muted(first: str, end: str, **more: object) -> Folding:
    mute = msgspec.convert({"from": first, "to": end, **more}, Mute)
    return Folding(web=Options(name="web", mute=[mute]))


def test_nobody_is_notified_of_what_begins_and_ends_in_a_mute() -> None:
    folding = muted("2026-11-25T11:00", "2026-11-25T13:00")
    down = reported("Errors Page=a")
    folding.fold(5, [down])
    assert [each.metric for each in folding.board.muted] == [down.metric]
    folding.fold(50, [over(down, 50)])
    folding.fold(70, [over(down, 50)])
    assert (folding.changes, folding.board.muted) == ([], [])


def test_what_outlives_its_mute_is_notified_then() -> None:
    folding = muted("2026-11-25T11:00", "2026-11-25T13:00")
    folding.fold(59, [reported("Errors Page=a")])
    assert folding.changes == []
    folding.fold(61, [lasting(reported("Errors Page=a"), 60)])
    assert folding.changes == [("opened", 1)]
    assert folding.board.muted == []


def test_what_had_ended_in_its_mute_is_not_notified_while_it_waits_to_close() -> None:
    folding = muted("2026-11-25T11:00", "2026-11-25T13:00")
    down = lasting(reported("Errors Page=a"), 59)
    folding.fold(61, [down])
    folding.fold(75, [over(down, 75)])
    assert folding.changes == []


def test_what_was_unusual_before_a_mute_and_found_in_it_is_not_notified_as_it_closes_there() -> (
    None
):
    """A sum settles late: its last unusual reading was before the mute, and nobody knew of it."""
    folding = muted("2026-11-25T12:06", "2026-11-25T14:00")
    folding.fold(7, [reported("Errors Page=a")])
    folding.fold(21, [reported("Errors Page=a", end=20)])
    folding.fold(121, [reported("Errors Page=a", end=20)])
    assert folding.changes == []


def test_what_began_before_a_mute_closes_in_it_without_a_message() -> None:
    folding = muted("2026-11-25T12:30", "2026-11-25T13:00")
    folding.fold(5, [reported("Errors Page=a")])
    [closed] = folding.fold(50, [reported("Errors Page=a", end=50)])
    assert isinstance(closed, IncidentClosed)
    assert closed.is_silent


def test_what_ended_in_a_mute_is_not_notified_when_the_mute_is_taken_out_of_the_watch_file() -> (
    None
):
    folding = muted("2026-11-25T11:00", "2026-11-25T13:00")
    folding.fold(5, [reported("Errors Page=a")])
    folding.fold(50, [reported("Errors Page=a", end=50)])
    folding.entries["web"] = Options(name="web")
    folding.fold(300, [reported("Errors Page=a", end=50)])
    assert folding.changes == []


def test_the_reminder_after_a_snooze_waits_for_the_end_of_a_mute() -> None:
    folding = muted("2026-11-25T12:30", "2026-11-25T13:00")
    folding.fold(5, [reported("Errors Page=a")])
    snooze(folding, until=40)
    for minute in (6, 41, 59):
        folding.fold(minute, [lasting(reported("Errors Page=a"), minute)])
    assert folding.changes == [("opened", 1)]
    folding.fold(61, [lasting(reported("Errors Page=a"), 61)])
    assert folding.changes == [("opened", 1), ("resumed", 1)]


# --- snoozes ------------------------------------------------------------------------------------


def snooze(folding: Folding, until: int) -> None:
    """Snooze the newest incident until a minute."""
    incident = folding.board.incidents[0]
    metrics = [each.metric for each in incident.members]
    ends = NOON_MS + until * MINUTE
    folding.feedback = [Feedback(incident.id, "snooze", "me", NOON_MS, ends, metrics=metrics)]


def test_a_snoozed_metric_that_is_unusual_again_wakes_nobody_until_the_snooze_is_over(
    folding: Folding,
) -> None:
    folding.fold(5, [reported("Errors Page=a")])
    snooze(folding, until=240)
    first = reported("Errors Page=a", end=30)
    folding.fold(31, [first])
    again = reported("Errors Page=a", 100)
    folding.fold(105, [first, again])
    folding.fold(130, [first, over(again, 130)])
    folding.fold(245, [first, over(again, 130)])
    assert folding.changes == [("opened", 1), ("closed", 1)]


def test_a_snoozed_metric_that_is_unusual_at_the_end_of_the_snooze_is_notified_then(
    folding: Folding,
) -> None:
    folding.fold(5, [reported("Errors Page=a")])
    snooze(folding, until=240)
    first, again = reported("Errors Page=a", end=30), reported("Errors Page=a", 100)
    folding.fold(31, [first])
    folding.fold(239, [first, lasting(again, 235)])
    folding.fold(245, [first, lasting(again, 245)])
    assert folding.changes == [("opened", 1), ("closed", 1), ("opened", 1)]


def test_other_metrics_do_not_join_a_snoozed_incident(folding: Folding) -> None:
    folding.fold(5, [reported("Errors Page=a")])
    snooze(folding, until=240)
    folding.fold(6, [reported("Errors Page=a")])
    folding.fold(10, [reported("Errors Page=a"), reported("Latency Page=a", 2)])
    assert folding.changes == [("opened", 1), ("opened", 1)]


# --- how far an incident reaches ----------------------------------------------------------------


def test_where_something_is_always_wrong_an_incident_does_not_last_for_ever(
    folding: Folding,
) -> None:
    every = [reported(f"Errors{n} Page=a", 14 * n) for n in range(20)]
    for number in range(20):
        folding.fold(14 * number + 5, every[: number + 1])
    counts = [len(each.members) for each in folding.board.incidents]
    assert sum(counts) == 20
    assert max(counts) <= 7, "an hour's, and who is within the reach of the last"


# --- whose topics -------------------------------------------------------------------------------

PAYMENTS = "arn:aws:sns:eu-west-1:123456789012:payments"


def test_an_incident_is_notified_where_its_members_entries_say() -> None:
    folding = Folding(cards=Options(name="cards", topic=PAYMENTS))
    [opened] = folding.fold(
        5, [reported("Errors Page=a"), reported("Errors Page=a Card=b", entry="cards")]
    )
    assert sorted(opened.incident.topics) == [PAYMENTS, MESSAGE]


def test_who_joins_later_is_notified_where_nobody_knows_of_the_incident() -> None:
    folding = Folding(cards=Options(name="cards", topic=PAYMENTS))
    known = reported("Errors Page=a")
    folding.fold(5, [known])
    [joined] = folding.fold(6, [known, reported("Errors Page=a Card=b", entry="cards")])
    assert isinstance(joined, IncidentJoined)
    assert joined.topics == [PAYMENTS]
    assert joined.incident.topics == [MESSAGE, PAYMENTS]
    [joined] = folding.fold(
        7,
        [
            known,
            reported("Errors Page=a Card=b", entry="cards"),
            reported("Errors Page=a Card=c", entry="cards"),
        ],
    )
    assert isinstance(joined, IncidentJoined)
    assert joined.topics == []


def test_a_muted_metric_does_not_join_and_others_are_notified() -> None:
    folding = muted("2026-11-25T11:00", "2026-11-25T13:00", dimensions={"Host": "batch-*"})
    folding.fold(5, [reported("Load Host=batch-1 Page=a"), reported("Load Host=web-1 Page=a")])
    assert members(folding) == [["Load Host=web-1 Page=a"]]


# --- notified once, and closed once -------------------------------------------------------------


def test_more_incidents_in_a_day_than_are_shown_are_notified_once_each(folding: Folding) -> None:
    """A day with more of them than the board keeps: each was notified again every minute."""
    down = [reported(f"Errors Page=p{n}", end=10) for n in range(MAX_KEPT + 5)]
    folding.fold(11, down)
    folding.fold(12, down)
    assert folding.changes.count(("opened", 1)) == len(down)
    assert len(folding.changes) == 2 * len(down)
    folding.fold(11 + DAY, [])
    assert len(folding.board.incidents) == MAX_KEPT


def test_what_a_shard_without_metrics_continues_to_report_is_not_notified_again(
    folding: Folding,
) -> None:
    """It has no jobs that would remove what is over from its report."""
    old = [reported("Errors Page=a", end=10, reason="no longer watched")]
    folding.fold(11, old)
    folding.fold(11 + KEPT_MS / MINUTE, old)
    folding.fold(12 + KEPT_MS / MINUTE, old)
    assert folding.changes == [("opened", 1), ("closed", 1)]
    assert folding.board.incidents == []


def test_what_has_been_over_for_a_day_is_no_news(folding: Folding) -> None:
    folding.fold(10 + REPORTED_MS / MINUTE, [reported("Errors Page=a", end=10)])
    assert folding.changes == []


def test_a_silence_that_is_fine_is_not_notified_again_however_long_it_lasts(
    folding: Folding,
) -> None:
    silent = [reported("Orders", is_silent=True)]
    folding.fold(5, silent)
    [incident] = folding.board.incidents
    folding.feedback = [Feedback(incident.id, "fine", "me", NOON_MS)]
    for minute in (6, 7 + KEPT_MS / MINUTE, 8 + KEPT_MS / MINUTE):
        folding.fold(minute, silent)
    assert folding.changes == [("opened", 1), ("closed", 1)]


def test_an_incident_whose_fine_is_taken_back_before_the_next_shard_job_is_open_again(
    folding: Folding,
) -> None:
    down = reported("Errors Page=a")
    folding.fold(5, [down])
    [incident] = folding.board.incidents
    folding.feedback = [Feedback(incident.id, "fine", "me", NOON_MS)]
    folding.fold(6, [down])
    folding.feedback = []
    folding.fold(7, [down])
    assert folding.changes == [("opened", 1), ("closed", 1), ("resumed", 1)]
    folding.fold(60, [over(down, 60)])
    assert folding.changes[3:] == [("closed", 1)]


def test_what_people_have_closed_stays_closed_while_their_feedback_can_not_be_read(
    folding: Folding,
) -> None:
    down = reported("Errors Page=a", is_silent=True)
    folding.fold(5, [down])
    [incident] = folding.board.incidents
    folding.feedback = [Feedback(incident.id, "fine", "me", NOON_MS)]
    folding.fold(6, [down])
    folding.feedback = None
    folding.fold(7, [down])
    assert folding.changes == [("opened", 1), ("closed", 1)]


def test_a_metric_that_has_long_recovered_in_an_open_incident_opens_another_one(
    folding: Folding,
) -> None:
    silent = reported("Beats Page=a", is_silent=True)
    recovered = reported("Errors Page=a", end=30)
    folding.fold(5, [silent, recovered])
    folding.fold(
        DAY, [lasting(silent, DAY), recovered, reported("Errors Page=a", DAY - 5, severity=0.99)]
    )
    assert folding.changes == [("opened", 2), ("opened", 1)]


def test_nothing_joins_an_incident_that_is_fine(folding: Folding) -> None:
    """It closes in the same minute: nobody was notified of what had joined it, however long."""
    known, later = reported("Errors Page=a"), reported("Latency Page=a", 2)
    folding.fold(6, [known])
    [incident] = folding.board.incidents
    folding.feedback = [Feedback(incident.id, "fine", "me", NOON_MS)]
    folding.fold(8, [known, later])
    assert sorted(folding.changes) == [("closed", 1), ("opened", 1), ("opened", 1)]
    assert members(folding) == [["Latency Page=a"], ["Errors Page=a"]]


def test_an_anomaly_of_which_no_shard_knows_is_over_after_an_hour(folding: Folding) -> None:
    folding.fold(5, [reported("Errors Page=a")])
    folding.fold(LOST_MS / MINUTE - 1, [])
    assert folding.changes == [("opened", 1)]
    folding.fold(LOST_MS / MINUTE, [])
    assert folding.changes == [("opened", 1), ("closed", 1)]
    assert folding.board.incidents[0].close_reason == "no longer watched"


@pytest.mark.parametrize(
    ("reasons", "reason"),
    [
        (["no data", "recovered"], "recovered"),
        (["withdrawn", "no data"], "no data"),
        (["withdrawn", "no longer watched"], "no longer watched"),
        (["withdrawn", "withdrawn"], "withdrawn"),
        (["no data", "data is back"], "data is back"),
    ],
)
def test_an_incident_closes_when_its_last_member_does_for_the_most_significant_reason(
    folding: Folding, reasons: list, reason: str
) -> None:
    down = [reported("Errors Page=a"), reported("Time Page=a")]
    folding.fold(5, down)
    folding.fold(20, [over(down[0], 20, reasons[0]), down[1]])
    assert folding.changes == [("opened", 2)]
    folding.fold(25, [over(each, 20, why) for each, why in zip(down, reasons, strict=True)])
    assert folding.changes == [("opened", 2), ("closed", 2)]
    assert folding.board.incidents[0].close_reason == reason

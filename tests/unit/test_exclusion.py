"""Past incidents: excluded from training on request, and proposed."""

from __future__ import annotations

from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ops_anomaly.detection.types import Series
from training import SourceError
from training.alerts import propose_exclusions
from training.candidates.contextual import fit_contextual
from training.candidates.lstm_autoencoder import windows_without
from training.candidates.value_forest import fit_value_forest
from training.sources import DAY
from training.sources.series import LabelledSeries, TimeRange, exclude, parse_range


@pytest.fixture
def unlabelled(simulated: LabelledSeries) -> LabelledSeries:
    return replace(simulated, labels=None, windows=simulated.windows[:0])


@pytest.mark.parametrize("fit", [fit_value_forest, fit_contextual])
def test_a_model_is_as_if_excluded_readings_were_missing(fit, unlabelled: LabelledSeries) -> None:
    unlabelled = unlabelled.part(0, 1500)
    start, stop = 1000, 1300
    times = unlabelled.times
    excluded = exclude(unlabelled, [TimeRange(times[start], times[stop - 1])])
    kept = np.r_[:start, stop : len(times)]
    without = replace(unlabelled, series=unlabelled.series[kept])
    one, other, all_of_it = (fit(each, 42).detector for each in (excluded, without, unlabelled))
    assert one.stored().tensors.keys() == other.stored().tensors.keys()
    for name, tensor in one.stored().tensors.items():
        np.testing.assert_array_equal(tensor, other.stored().tensors[name])
    assert one.threshold == other.threshold
    assert any(
        not np.array_equal(tensor, all_of_it.stored().tensors[name])
        for name, tensor in one.stored().tensors.items()
    )


def test_no_window_of_the_lstm_holds_an_excluded_reading(unlabelled: LabelledSeries) -> None:
    excluded = exclude(unlabelled, [TimeRange(unlabelled.times[100], unlabelled.times[109])])
    assert (~windows_without(excluded.in_window, 30)).sum() == 10 + 30 - 1


def test_an_excluded_window_is_anomalous_but_not_to_be_found(simulated: LabelledSeries) -> None:
    first, last = simulated.windows[2]
    excluded = simulated.leaving_out(np.array([[first, first]]))  # touches one window
    assert len(excluded.windows) == len(simulated.windows) - 1
    np.testing.assert_array_equal(excluded.in_window, simulated.in_window)
    assert excluded.digest != simulated.digest
    cut = int(np.searchsorted(simulated.times, last)) - 5
    before, after = excluded.part(0, cut), excluded.part(cut, len(excluded))
    in_either = np.concatenate([before.in_window, after.in_window])
    np.testing.assert_array_equal(in_either, simulated.in_window)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("2014-02-16", "2014-02-15"), "ends before it begins; swap the two"),
        (("2014-02-16", "soon"), "'soon' is not a time; write it like 2014-02-14T14:30:00"),
        (
            ("2015-02-16", "2015-02-17"),
            "no reading in it; those of simulated_ec2_cpu run from",
        ),
    ],
)
def test_an_invalid_range_is_named(
    unlabelled: LabelledSeries, texts: tuple[str, str], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        exclude(unlabelled, [parse_range(texts)])


def test_a_range_without_an_offset_is_in_the_zone_of_the_command() -> None:
    texts = ("2014-02-16T09:00", "2014-02-16T16:00Z")
    in_utc = ("2014-02-16T14:00", "2014-02-16T16:00")
    assert parse_range(texts, ZoneInfo("America/New_York")) == parse_range(in_utc)


def test_an_incident_of_the_training_part_is_proposed(unlabelled: LabelledSeries) -> None:
    start, cut = 5 * DAY + 100, len(unlabelled) // 2
    values = unlabelled.values.copy()
    values[start : start + 12] = 20.0
    unlabelled = replace(unlabelled, series=Series(unlabelled.times, values))
    spike = unlabelled.times[start]
    proposals = propose_exclusions(unlabelled, cut)
    assert any(each.first <= spike <= each.last for each in proposals)
    assert len(proposals) <= 5
    assert proposals[0].exclusion.startswith("--exclude 2014-02-")
    # pasting the options works: what is excluded is not proposed again, and others take its place
    ranges: list[TimeRange] = []
    while proposals:
        assert not any(
            each.first <= last and first <= each.last
            for each in proposals
            for first, last in ranges
        )
        ranges += [parse_range(each.exclusion.split()[1:]) for each in proposals]
        proposals = propose_exclusions(exclude(unlabelled, ranges), cut)
    assert len(ranges) < 10

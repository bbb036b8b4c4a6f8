"""Past incidents: kept out of training on request, and proposed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.candidates.contextual_forest import fit_contextual_forest
from training.candidates.lstm_autoencoder import windows_without
from training.candidates.value_forest import fit_value_forest
from training.comparison import propose_exclusions
from training.errors import SourceError
from training.sources.obtain import exclude, parse_range
from training.sources.series import Series
from training.sources.simulated import DAY, INCIDENTS


@pytest.fixture
def unlabelled(simulated: Series) -> Series:
    return replace(simulated, labels=None, windows=simulated.windows[:0])


@pytest.mark.parametrize("fit", [fit_value_forest, fit_contextual_forest])
def test_models_are_as_if_excluded_readings_were_not_there(fit, unlabelled: Series) -> None:
    start, stop = 1000, 1300
    times = unlabelled.timestamps
    excluded = exclude(unlabelled, [parse_range((str(times[start]), str(times[stop - 1])))])
    kept = np.r_[:start, stop : len(times)]
    without = replace(unlabelled, timestamps=times[kept], values=unlabelled.values[kept])
    one, other, all_of_it = (fit(each, 42).detector for each in (excluded, without, unlabelled))
    assert one.tensors().keys() == other.tensors().keys()
    for name, tensor in one.tensors().items():
        np.testing.assert_array_equal(tensor, other.tensors()[name])
    assert one.threshold == other.threshold
    assert any(
        not np.array_equal(tensor, all_of_it.tensors()[name])
        for name, tensor in one.tensors().items()
    )


def test_no_window_of_the_lstm_holds_an_excluded_reading(unlabelled: Series) -> None:
    times = unlabelled.timestamps
    excluded = exclude(unlabelled, [parse_range((str(times[100]), str(times[109])))])
    assert (~windows_without(excluded.in_window, 30)).sum() == 10 + 30 - 1


def test_nothing_is_to_be_found_in_what_is_excluded(simulated: Series) -> None:
    first, last = simulated.windows[2]
    excluded = simulated.leaving_out(np.array([[first, first]]))  # touches one window
    assert len(excluded.windows) == len(simulated.windows) - 1
    np.testing.assert_array_equal(excluded.in_window, simulated.in_window)
    assert excluded.digest != simulated.digest
    cut = int(np.searchsorted(simulated.timestamps, last)) - 5
    before, after = excluded.part(0, cut), excluded.part(cut, len(excluded))
    in_either = np.concatenate([before.in_window, after.in_window])
    np.testing.assert_array_equal(in_either, simulated.in_window)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("2014-02-16", "2014-02-15"), "ends before it begins; swap the two"),
        (("2014-02-16", "soon"), "'soon' is not a time; write it like 2014-02-14T14:30:00"),
        (("2015-02-16", "2015-02-17"), "no reading in it; those of simulated_ec2_cpu run from"),
    ],
)
def test_bad_ranges_are_named(unlabelled: Series, texts: tuple[str, str], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        exclude(unlabelled, [parse_range(texts)])


def test_an_incident_of_the_part_fitted_on_is_proposed(unlabelled: Series) -> None:
    day, reading = INCIDENTS["spike"]
    spike = unlabelled.timestamps[day * DAY + reading]
    cut = len(unlabelled) // 2
    proposals = propose_exclusions(unlabelled, cut)
    assert any(each.first <= spike <= each.last for each in proposals)
    assert len(proposals) <= 5
    assert proposals[0].option == f"--exclude {proposals[0].first} {proposals[0].last}"
    # what is known is not proposed again: the option does as it says
    ranges = [parse_range(each.option.split()[1:]) for each in proposals]
    assert propose_exclusions(exclude(unlabelled, ranges), cut) == []

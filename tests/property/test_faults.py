"""Faults: they change what they should and nothing else, and grow with their size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.backtest import (
    APART,
    FAULT_KINDS,
    GRACE,
    LONGEST,
    FaultKind,
    Units,
    choose_places,
    inject,
)

DAY = 48
SERIES = arrays(np.float64, DAY + 2 * LONGEST, elements=st.floats(-1e6, 1e6))
POSITIVE = arrays(np.float64, DAY + 2 * LONGEST, elements=st.floats(0.0, 1e6))
SIZES = [(kind, size) for kind in FAULT_KINDS for size in kind.sizes]
NAMES = [f"{kind.name} {size}" for kind, size in SIZES]
STARTS = st.integers(1, DAY + LONGEST)


@pytest.mark.parametrize(("kind", "size"), SIZES, ids=NAMES)
@given(values=SERIES, start=STARTS, spread=st.floats(1e-3, 1e3))
def test_a_fault_takes_its_own_readings_and_leaves_the_series_alone(
    kind: FaultKind, size: float, values: np.ndarray, start: int, spread: float
) -> None:
    before = values.copy()
    faulty = inject(kind, size, values, start, Units(spread, DAY))
    np.testing.assert_array_equal(values, before)
    if faulty is not None:
        assert len(faulty) == kind.readings(size) <= LONGEST
        assert np.isfinite(faulty).all()
        assert (faulty != values[start : start + len(faulty)]).any()


@pytest.mark.parametrize(("kind", "size"), SIZES, ids=NAMES)
@given(values=POSITIVE, start=STARTS, spread=st.floats(1e-3, 1e3))
def test_a_series_that_is_never_negative_stays_so(
    kind: FaultKind, size: float, values: np.ndarray, start: int, spread: float
) -> None:
    faulty = inject(kind, size, values, start, Units(spread, DAY))
    assert faulty is None or faulty.min() >= 0.0


@pytest.mark.parametrize("kind", [k for k in FAULT_KINDS if k.length], ids=lambda kind: kind.name)
@given(values=SERIES, start=STARTS)
def test_twice_the_size_is_twice_as_far(kind: FaultKind, values: np.ndarray, start: int) -> None:
    values[0] = -1e9  # so that nothing is clipped
    once, twice = (inject(kind, size, values, start, Units(100.0, DAY)) for size in (1.0, 2.0))
    here = values[start : start + kind.length]
    np.testing.assert_allclose(twice - here, 2 * (once - here), atol=1e-6)
    assert np.abs(once - here).max() == pytest.approx(100.0)


def test_a_change_of_nothing_is_not_a_fault() -> None:
    nothing, units = np.zeros(DAY + 2 * LONGEST), Units(1.0, DAY)
    possible = {
        kind.name for kind, size in SIZES if inject(kind, size, nothing, DAY, units) is not None
    }
    assert possible == {"spike", "level shift", "slow drift"}


def test_a_pattern_comes_at_the_wrong_time_only_where_there_is_one() -> None:
    kind = next(kind for kind in FAULT_KINDS if kind.name == "wrong time")
    daily = np.tile(np.repeat([1.0, 5.0], [DAY - 4, 4]), 4)
    faulty = inject(kind, 12, daily, 2 * DAY + 10, Units(1.0, DAY))
    assert sorted(faulty)[-4:] == [5.0] * 4
    noise = np.random.default_rng(0).normal(size=4 * DAY)
    tried = [inject(kind, 24, noise, start, Units(1.0, DAY)) for start in range(DAY, 3 * DAY)]
    assert all(faulty is None for faulty in tried)
    assert inject(kind, 12, daily, DAY - 1, Units(1.0, DAY)) is None  # no day before
    daily[2 * DAY - 4 : 2 * DAY] = np.nan  # a known incident is not a pattern
    assert inject(kind, 12, daily, 2 * DAY + 10, Units(1.0, DAY)) is None


@given(
    known=arrays(np.bool_, st.integers(1, 1000), elements=st.booleans(), fill=st.just(False)),
    lead=st.integers(2, 20),
    seed=st.integers(0, 100),
)
def test_places_have_space_keep_apart_and_avoid_known_incidents(
    known: np.ndarray, lead: int, seed: int
) -> None:
    places = choose_places(known, lead, seed)
    np.testing.assert_array_equal(places, choose_places(known, lead, seed))
    assert (np.diff(places) >= APART).all()
    for place in places:
        assert lead <= place <= len(known) - LONGEST - GRACE
        assert not known[place - lead : place + LONGEST + GRACE].any()

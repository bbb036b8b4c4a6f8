"""The contextual forest in its artifact: whole again, small, and nothing hostile gets in."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from ops_anomaly.detection.artifact import digest, pack, unpack
from ops_anomaly.detection.contextual_forest import ContextualForest
from ops_anomaly.detection.types import CorruptArtifactError, RawTensor
from training.candidates.contextual_forest import fit_contextual_forest
from training.sources import simulate_ec2_cpu
from training.sources.series import Series

STEP = np.timedelta64(300_000, "ms")


@pytest.fixture(scope="module")
def trained(simulated: Series) -> ContextualForest:
    return cast("ContextualForest", fit_contextual_forest(simulated.part(0, 700), 1).detector)


def test_it_comes_back_from_the_artifact_as_it_was(trained: ContextualForest) -> None:
    data = pack(trained, "cpu", libraries={}, training_data={}, figures={})
    again, _ = unpack(data, digest(data))
    values = simulate_ec2_cpu(3).values[:200]
    times = trained.until + STEP * np.arange(1, 201)
    one, two = trained.detect(times, values), again.detect(times, values)
    np.testing.assert_array_equal(one.scores, two.scores)
    assert one.reasons == two.reasons
    assert pack(again, "cpu", libraries={}, training_data={}, figures={}) == data


def test_an_artifact_is_smaller_than_a_megabyte(trained: ContextualForest) -> None:
    year = [simulate_ec2_cpu(seed).values for seed in range(9)]
    values = np.concatenate(year)
    times = trained.until + STEP * np.arange(1, len(values) + 1)
    grown = trained.advance(times, values)
    assert len(pack(grown, "cpu", libraries={}, training_data={}, figures={})) < 1_000_000


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("times", lambda a: a[::-1]),
        ("values", lambda a: a[1:]),
        ("values", lambda a: a * np.nan),
        ("values", lambda a: a * 1e300),
        ("times", lambda a: a * 2**20),
        ("isolation", lambda a: a + 1),
        ("distances", lambda a: a[:, :3]),
        ("isolation", lambda a: a[:, np.newaxis]),
    ],
)
def test_tensors_that_do_not_fit_are_refused(trained: ContextualForest, name: str, change) -> None:
    codes = {"float64": "F64", "float32": "F32", "uint8": "U8", "uint16": "U16", "int64": "I64"}
    arrays = {key: np.ascontiguousarray(array) for key, array in trained.tensors().items()}
    arrays[name] = np.ascontiguousarray(change(arrays[name]))
    tensors = {
        key: RawTensor(codes[array.dtype.name], array.shape, array.tobytes())
        for key, array in arrays.items()
    }
    with pytest.raises(CorruptArtifactError):
        ContextualForest.restore(tensors, trained.parameters(), 1.0)


@pytest.mark.parametrize(
    ("parameter", "number"),
    [
        ("offset", 0.5),
        ("offset", -1),
        ("offset", 100),
        ("offset", 1e19),
        ("last_alert", 10**9),
        ("onset", -2),
        ("probation", -1),
        ("boost", -5),
        ("is_notified", 2),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    trained: ContextualForest, parameter: str, number: float
) -> None:
    data = pack(trained, "cpu", libraries={}, training_data={}, figures={})
    detector, _ = unpack(data, digest(data))
    codes = {"float64": "F64", "float32": "F32", "uint8": "U8", "uint16": "U16", "int64": "I64"}
    tensors = {
        key: RawTensor(codes[array.dtype.name], array.shape, array.tobytes())
        for key, array in detector.tensors().items()
    }
    with pytest.raises(CorruptArtifactError):
        ContextualForest.restore(tensors, detector.parameters() | {parameter: number}, 1.0)


def test_a_threshold_of_nothing_is_refused(trained: ContextualForest) -> None:
    data = pack(replace(trained, threshold=0.0), "x", libraries={}, training_data={}, figures={})
    with pytest.raises(CorruptArtifactError):
        unpack(data, digest(data))

"""The artifact: what goes in comes out, the same bytes each time, and nothing foreign gets in."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from ops_anomaly.detection.artifact import digest, pack, read_manifest, unpack
from ops_anomaly.detection.types import CorruptArtifactError, UnsupportedArtifactError
from tests.support.fakes import small_artifact, small_forest


def rewritten(data: bytes, tensors: dict | None = None, **changes: object) -> bytes:
    """Write an artifact again with other tensors or manifest fields, as a forger could."""
    length = int.from_bytes(data[:8], "little")
    manifest = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["manifest"])
    manifest.update(changes)
    return save({**load(data), **(tensors or {})}, {"manifest": json.dumps(manifest)})


def refused(data: bytes, match: str, error: type[Exception] = CorruptArtifactError) -> None:
    with pytest.raises(error, match=match):
        unpack(data, digest(data))


def test_a_detector_comes_back_as_it_was() -> None:
    data = small_artifact()
    detector, manifest = unpack(data, digest(data))
    assert detector == small_forest()
    assert (manifest.name, manifest.kind) == ("ec2-cpu", "value-forest")
    assert manifest.figures == {"f1": 0.5, "mean_delay_minutes": None}


def test_the_same_model_gives_the_same_bytes() -> None:
    assert small_artifact() == small_artifact()


def test_any_safetensors_tool_can_read_it() -> None:
    assert load(small_artifact())["breaks"].tolist() == [0.0, 1.0]


def test_a_figure_that_json_cannot_hold_is_refused_when_packing() -> None:
    with pytest.raises(ValueError, match="JSON"):
        pack(small_forest(), "x", libraries={}, training_data={}, figures={"f1": float("nan")})


@pytest.mark.parametrize("recorded", ["", "0" * 64])
def test_a_digest_that_does_not_match_is_refused(recorded: str) -> None:
    with pytest.raises(CorruptArtifactError, match="SHA-256"):
        unpack(small_artifact(), recorded)


@pytest.mark.parametrize("schema", [0, 2, "1", None])
def test_another_schema_asks_for_other_code(schema: object) -> None:
    refused(rewritten(small_artifact(), schema=schema), "schema", UnsupportedArtifactError)


def test_an_unknown_kind_asks_for_newer_code() -> None:
    refused(rewritten(small_artifact(), kind="oracle"), "newer code", UnsupportedArtifactError)
    refused(rewritten(small_artifact(), kind=["x"]), "newer code", UnsupportedArtifactError)


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"extra": np.zeros(1)}, "missing or unknown: extra"),
        ({"breaks": np.zeros(2, np.float32)}, "dtype F32"),
        ({"breaks": np.zeros((2, 1))}, "shape"),
        ({"breaks": np.zeros(0)}, "need one score more"),
        ({"breaks": np.arange(3.0)}, "need one score more"),
        ({"breaks": np.array([1.0, 0.0])}, "do not increase"),
        ({"breaks": np.array([0.0, 0.0])}, "do not increase"),
        ({"breaks": np.array([0.0, np.nan])}, "finite"),
        ({"scores": np.array([0.0, np.inf, 0.0])}, "finite"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(tensors: dict, match: str) -> None:
    refused(rewritten(small_artifact(), tensors), match)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": None},
        {"threshold": True},
        {"threshold": "0.5"},
        {"parameters": []},
        {"figures": None},
        {"unknown": 1},
        {"threshold": 10**400},
        {"libraries": {"a": 1}},
        {"name": 5},
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(changes: dict) -> None:
    refused(rewritten(small_artifact(), **changes), "threshold|manifest")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_json_cannot_hold_are_refused(number: str) -> None:
    data = small_artifact()
    text = f'{{"schema":1,"kind":"value-forest","threshold":{number}}}'
    refused(save(load(data), {"manifest": text}), "manifest")


@pytest.mark.parametrize("metadata", [None, {"other": "x"}, {"manifest": "{"}, {"manifest": "[]"}])
def test_a_file_without_a_manifest_is_refused(metadata: dict | None) -> None:
    refused(save(load(small_artifact()), metadata), "manifest")


def test_a_manifest_is_read_without_the_tensors() -> None:
    assert read_manifest(small_artifact()).kind == "value-forest"

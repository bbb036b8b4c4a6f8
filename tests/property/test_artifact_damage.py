"""A damaged artifact is refused by an error of ours, with and without the digest's help."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_anomaly.detection.artifact import digest, unpack
from ops_anomaly.detection.types import ArtifactError, CorruptArtifactError
from tests.support.fakes import small_artifact

ARTIFACT = small_artifact()


@given(st.integers(0, len(ARTIFACT) * 8 - 1))
def test_one_flipped_bit_is_refused(bit: int) -> None:
    damaged = bytearray(ARTIFACT)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptArtifactError):
        unpack(bytes(damaged), digest(ARTIFACT))


@given(st.integers(0, len(ARTIFACT) - 1))
def test_a_truncated_file_is_refused_even_if_its_digest_agrees(length: int) -> None:
    damaged = ARTIFACT[:length]
    with pytest.raises(CorruptArtifactError):
        unpack(damaged, digest(damaged))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused_even_if_their_digest_agrees(data: bytes) -> None:
    with pytest.raises(CorruptArtifactError):
        unpack(data, digest(data))


@given(st.integers(0, len(ARTIFACT) - 1), st.integers(0, 255))
def test_one_changed_byte_is_refused_or_harmless(at: int, byte: int) -> None:
    """Without the digest's help: an error of ours, or a detector whose every number is finite."""
    damaged = bytearray(ARTIFACT)
    damaged[at] = byte
    try:
        detector, _ = unpack(bytes(damaged), digest(bytes(damaged)))
    except ArtifactError:
        return
    assert detector.predict(2.0) in (True, False)

"""The artifact: one safetensors file that holds a detector and its manifest.

safetensors carries arrays and no code. The manifest is JSON under the file's one metadata key,
so any tool in any language can read both.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, cast

from safetensors import SafetensorError, deserialize

from ops_anomaly.detection.types import (
    CorruptArtifactError,
    RawTensor,
    UnsupportedArtifactError,
    scalar,
)

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Detector


SCHEMA = 1

# Kinds are imported when an artifact names them: a value forest needs no numpy.
KINDS = {
    "value-forest": ("ops_anomaly.detection.value_forest", "ValueForest"),
    "contextual": ("ops_anomaly.detection.contextual", "ContextualDetector"),
    "lstm-autoencoder": ("ops_anomaly.detection.lstm_autoencoder", "LstmAutoencoder"),
}


@dataclass(frozen=True)
class Manifest:
    """What an artifact says of itself; all of it JSON.

    It holds no time of day: the same data and versions give the same bytes. When a model was
    trained stands in the object's metadata in the bucket.

    Attributes
    ----------
    name, kind : str
        The model's name in the bucket; the kind of detector.
    threshold : float
        Where scores become anomalies, as the kind has it.
    parameters
        The detector's scalars.
    libraries
        Versions that training ran on.
    training_data
        Source, digest, span and number of readings.
    figures
        What was measured, on which part.
    """

    name: str
    kind: str
    threshold: float
    parameters: Mapping[str, float]
    libraries: Mapping[str, str] = field(default_factory=dict)
    training_data: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA


def digest(data: bytes) -> str:
    """Return the SHA-256 of an artifact, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def pack(
    detector: Detector,
    name: str,
    *,
    libraries: Mapping[str, str],
    training_data: Mapping[str, Any],
    figures: Mapping[str, Any],
) -> bytes:
    """Write a detector and its manifest as an artifact; the same input gives the same bytes.

    Raises
    ------
    ValueError
        If the manifest holds a number that JSON can't (NaN, infinity).
    """
    from safetensors.numpy import save  # imports numpy

    stored = detector.stored()
    manifest = Manifest(
        name=name,
        kind=detector.kind,
        threshold=detector.threshold,
        parameters=stored.parameters,
        libraries=libraries,
        training_data=training_data,
        figures=figures,
    )
    text = json.dumps(asdict(manifest), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return save(stored.tensors, {"manifest": text})


def unpack(data: bytes, expected_digest: str) -> tuple[Detector, Manifest]:
    """Check an artifact and read it.

    Parameters
    ----------
    data
        The file.
    expected_digest
        SHA-256 that was kept beside it when it was written, hexadecimal.

    Raises
    ------
    CorruptArtifactError
        If the digest, the file format, the manifest or a tensor is not as it should be.
    UnsupportedArtifactError
        If the schema or the kind is not known to this code.
    """
    if digest(data) != expected_digest:
        raise CorruptArtifactError(
            f"SHA-256 is {digest(data)}, recorded was {expected_digest or 'none'}"
        )
    try:
        tensors = {
            name: RawTensor(tensor["dtype"], tuple(tensor["shape"]), bytes(tensor["data"]))
            for name, tensor in deserialize(data)  # type: ignore[no-untyped-call] # its stub has no types
        }
    except SafetensorError as error:
        raise CorruptArtifactError(f"not a safetensors file: {error}") from error
    manifest = read_manifest(data)
    threshold = scalar({"threshold": manifest.threshold}, "threshold")
    module, class_name = KINDS[manifest.kind]
    kind: type[Detector] = getattr(importlib.import_module(module), class_name)
    return kind.restore(tensors, manifest.parameters, threshold), manifest


def read_manifest(data: bytes) -> Manifest:
    """Read the manifest alone, from the header of a safetensors file.

    Raises
    ------
    CorruptArtifactError
        If there is none or it is malformed.
    UnsupportedArtifactError
        If its schema or kind is not known to this code.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length])
        content = json.loads(
            header["__metadata__"]["manifest"], parse_float=_finite, parse_constant=_finite
        )
        schema, kind = content["schema"], content["kind"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptArtifactError(f"no readable manifest: {error!r}") from error
    if schema != SCHEMA:
        raise UnsupportedArtifactError(
            f"artifact schema {schema!r}, this code reads {SCHEMA}: deploy the code that wrote it"
        )
    if not isinstance(kind, str) or kind not in KINDS:
        raise UnsupportedArtifactError(
            f"detector kind {kind!r}, this code knows {', '.join(KINDS)}: deploy newer code"
        )
    if (
        content.keys() != {each.name for each in fields(Manifest)}
        or not all(
            isinstance(content[part], dict)
            for part in ("parameters", "libraries", "training_data", "figures")
        )
        or not isinstance(content["name"], str)
        or not all(isinstance(version, str) for version in content["libraries"].values())
    ):
        raise CorruptArtifactError("the manifest's fields are not those of its schema")
    return Manifest(**cast("dict[str, Any]", content))


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not finite")
    return number

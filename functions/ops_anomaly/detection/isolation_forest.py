"""scikit-learn's isolation forest of several features, served from flat arrays.

Every tree is laid out as a complete binary tree of the same depth: the children of node i are
2i + 1 and 2i + 2, so no index is stored that could be wrong. Where a branch of the fitted tree
ends early, the nodes below it send everything left.

Liu, Ting and Zhou, "Isolation Forest", ICDM 2008.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from ops_anomaly.detection.types import FLOAT32_MAX, CorruptArtifactError, RawTensor, expect

if TYPE_CHECKING:
    from ops_anomaly.detection.types import Floats

    Indices = npt.NDArray[np.intp]


ROWS = 512
"""Rows that walk the trees together: what fits the processor's caches."""

MAX_ACCUMULATED = 16
"""Rows up to which one cumulative sum is faster than adding tree by tree."""

MAX_TREES = 1_000
MAX_NODES = 4_095
"""Trees, and inner nodes of each, of the largest forest that can be served in time."""

MAX_PATH = 1e6


@dataclass(frozen=True)
class IsolationForest:
    """How easily a row is isolated from those the forest was fitted on.

    Attributes
    ----------
    features : (trees, nodes) uint8
        The feature that each inner node tests.
    splits : (trees, nodes) float32
        A row goes right where its feature, rounded to float32, is above the split.
    paths : (trees, nodes + 1) float64
        Path length of each leaf: its depth, and what is expected below it.
    expected_path : float
        Path length that a tree of the fitted size has on average.
    """

    features: npt.NDArray[np.uint8]
    splits: npt.NDArray[np.float32]
    paths: Floats
    expected_path: float

    def score_samples(self, rows: Floats) -> Floats:
        """Return the score of each row, (n, features) -> (n,) in (0, 1]; high is anomalous.

        It is scikit-learn's `-score_samples`, to the bit.
        """
        cells = np.minimum(np.maximum(rows, -FLOAT32_MAX), FLOAT32_MAX).astype(np.float32)
        total = np.empty(len(rows))
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            total[part] = sum_over_trees(self._path_lengths(cells[part]))
        scores: Floats = 2.0 ** -(total / (len(self.splits) * self.expected_path))
        return scores

    @cached_property
    def _levels(self) -> list[tuple[Indices, npt.NDArray[np.float32]]]:
        """Features and splits, level by level: node i of one has children 2i and 2i + 1 below."""
        starts = [2**level - 1 for level in range(self.splits.shape[1].bit_length())]
        return [
            (
                self.features[:, start : 2 * start + 1].astype(np.intp).ravel(),
                self.splits[:, start : 2 * start + 1].ravel(),
            )
            for start in starts
        ]

    def _path_lengths(self, cells: npt.NDArray[np.float32]) -> Floats:
        """Return each row's path length in each tree: (n, features) -> (trees, n)."""
        (features, splits), *below = self._levels
        # at the root all rows meet the same test
        right = np.ascontiguousarray(cells.T)[features] > splits[:, np.newaxis]
        node = 2 * np.arange(len(features))[:, np.newaxis] + right
        first_cell = np.arange(len(cells)) * cells.shape[1]
        at = np.empty_like(node)
        cell, limit = np.empty(node.shape, np.float32), np.empty(node.shape, np.float32)
        for features, splits in below:
            features.take(node, out=at, mode="wrap")  # all are within bounds; checking costs time
            at += first_cell
            cells.take(at, out=cell, mode="wrap")
            splits.take(node, out=limit, mode="wrap")
            np.greater(cell, limit, out=right)
            node += node
            node += right
        return self.paths.take(node)

    def tensors(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the arrays, by name; few path lengths differ, so each is stored once."""
        lengths, codes = np.unique(self.paths, return_inverse=True)
        return {
            "forest_features": self.features,
            "forest_splits": self.splits,
            "forest_lengths": lengths,
            "forest_leaves": codes.reshape(self.paths.shape).astype(np.uint16),
        }

    @classmethod
    def restore(cls, tensors: Mapping[str, RawTensor], features: int, expected_path: float) -> Self:
        """Rebuild the forest from an artifact.

        Parameters
        ----------
        tensors
            Those that `tensors()` names.
        features
            How many a row has.

        Raises
        ------
        CorruptArtifactError
            If a name, dtype, shape or number is not what the forest expects.
        """
        splits = tensors.get("forest_splits")
        trees, nodes = splits.shape if splits and len(splits.shape) == 2 else (1, 1)
        expect(
            tensors,
            {
                "forest_features": ("U8", (trees, nodes)),
                "forest_splits": ("F32", (trees, nodes)),
                "forest_lengths": ("F64", (None,)),
                "forest_leaves": ("U16", (trees, nodes + 1)),
            },
        )
        arrays = {name: tensor.to_numpy() for name, tensor in tensors.items()}
        is_complete = nodes > 0 and not nodes & (nodes + 1)
        if not (is_complete and 0 < trees <= MAX_TREES and nodes <= MAX_NODES):
            raise CorruptArtifactError(f"{trees} trees of {nodes} nodes are not complete trees")
        if arrays["forest_features"].max() >= features:
            raise CorruptArtifactError(f"the forest uses more than {features} features")
        lengths, leaves = arrays["forest_lengths"], arrays["forest_leaves"]
        if leaves.max() >= len(lengths):
            raise CorruptArtifactError("a leaf of the forest has no path length")
        if not 0.1 <= expected_path <= MAX_PATH or lengths.min() < 0 or lengths.max() > MAX_PATH:
            raise CorruptArtifactError("a path length of the forest is out of range")
        return cls(
            features=arrays["forest_features"].astype(np.uint8),
            splits=arrays["forest_splits"].astype(np.float32),
            paths=lengths[leaves].astype(np.float64),
            expected_path=expected_path,
        )


def sum_over_trees(lengths: Floats) -> Floats:
    """Add up over the trees, one after the other, as scikit-learn does: (trees, n) -> (n,).

    A sum would add in an order that depends on how many rows there are.
    """
    if lengths.shape[1] <= MAX_ACCUMULATED:
        total: Floats = np.add.accumulate(lengths, axis=0)[-1]
        return total
    total = lengths[0].copy()
    for of_tree in lengths[1:]:
        total += of_tree
    return total

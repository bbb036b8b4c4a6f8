"""The kinds of model that compete, one row each: a further kind is one file and one row."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name

from ops_anomaly.detection.types import Detector
from training.sources.series import LabelledSeries

OnEpoch = Callable[[int, int, float], None]
"""Called after each epoch with its number, the most there will be, and the validation loss."""

MAX_EPOCHS = 80


@dataclass(frozen=True)
class Candidate:
    """A fitted model that competes.

    Attributes
    ----------
    detector : Detector
        What is evaluated, exported and served.
    save_estimator : callable
        Writes the estimator of its library into a folder, for whoever wants to continue with it.
    losses : dict of str to list of float
        Loss by epoch, training and validation, where it was trained by epochs.
    """

    detector: Detector
    save_estimator: Callable[[Path], None]
    losses: dict[str, list[float]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The detector's kind, which names the candidate."""
        return self.detector.kind


@dataclass(frozen=True)
class CandidateKind:
    """A row of the table.

    Attributes
    ----------
    kind, title : str
        The detector's `kind`; its name for people.
    function : str
        Module and name of what fits it, imported when it is needed: `fit(series, seed)`, and
        `fit(series, seed, on_epoch, max_epochs)` where it has epochs.
    libraries : tuple of str
        Distributions whose versions decide the artifact's bytes.
    has_epochs : bool
        Whether it is trained by epochs.
    """

    kind: str
    title: str
    function: str
    libraries: tuple[str, ...]
    has_epochs: bool = False

    def fit(
        self, series: LabelledSeries, seed: int, on_epoch: OnEpoch, max_epochs: int = MAX_EPOCHS
    ) -> Candidate:
        """Fit a candidate of this kind.

        Raises
        ------
        SourceError
            If there are too few readings outside of anomaly windows.
        """
        fit: Callable[..., Candidate] = resolve_name(self.function)
        if self.has_epochs:
            return fit(series, seed, on_epoch, max_epochs)
        return fit(series, seed)


CANDIDATES = (
    # the simplest first: of equals, the simpler one wins
    CandidateKind(
        "value-forest",
        "value forest",
        "training.candidates.value_forest:fit_value_forest",
        ("scikit-learn",),
    ),
    CandidateKind(
        "contextual",
        "contextual detector",
        "training.candidates.contextual:fit_contextual",
        ("scikit-learn",),
    ),
    CandidateKind(
        "lstm-autoencoder",
        "LSTM autoencoder",
        "training.candidates.lstm_autoencoder:fit_lstm_autoencoder",
        ("jax", "keras"),
        has_epochs=True,
    ),
)

KINDS = tuple(row.kind for row in CANDIDATES)
TITLES = {row.kind: row.title for row in CANDIDATES}


def libraries_of(kinds: Collection[str]) -> list[str]:
    """Return the distributions whose versions decide the artifacts of some kinds, sorted."""
    own = (name for row in CANDIDATES if row.kind in kinds for name in row.libraries)
    return sorted({"numpy", "safetensors", *own})

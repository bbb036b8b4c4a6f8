"""On which metric each model of a watch file is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from registry.fleet import Watched
from registry.metric import Metric
from training.errors import SourceError
from training.sources.series import Series


@dataclass(frozen=True)
class Selected:
    """A model that a watch file names, and the series that it is trained on.

    Attributes
    ----------
    metrics : int
        How many metrics it is to judge; of those, the one with the most readings is taken.
    """

    model: str
    metric: Metric
    metrics: int
    series: Series


def metrics_by_model(fleet: Sequence[Watched]) -> dict[str, list[Metric]]:
    """Return the metrics of each model that an entry names.

    Raises
    ------
    SourceError
        If no entry names a model, or a model has no metric at the moment.
    """
    models: dict[str, list[Metric]] = {}
    for watched in fleet:
        if watched.options.model is not None:
            models.setdefault(watched.options.model, []).extend(watched.metrics)
    if not models:
        raise SourceError(
            "no entry of the watch file names a model, so there is none to train; add "
            "`model: NAME` to an entry, or leave it: each metric is then judged by its own history"
        )
    empty = [model for model, metrics in models.items() if not metrics]
    if empty:
        raise SourceError(
            f"no metric matches the entries of {', '.join(empty)} at the moment; look at what the "
            "file stands for with: python -m training watch FILE"
        )
    return models


def select(
    models: Mapping[str, Sequence[Metric]], found: Mapping[Metric, Series]
) -> tuple[list[Selected], list[str]]:
    """Return for each model the metric with the most readings; and the models without any."""
    selected, without = [], []
    for model, metrics in models.items():
        known = [metric for metric in metrics if metric in found]
        if not known:
            without.append(model)
            continue
        metric = max(known, key=lambda each: len(found[each]))
        selected.append(Selected(model, metric, len(metrics), found[metric]))
    return selected, without

"""A watch file before it is published: the metrics it matches, cost, false alerts, models.

Each model is trained on the fullest of its entry's metrics.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from ops_anomaly.aws.cloudwatch import Metric
from ops_anomaly.detection.formatting import duration
from ops_anomaly.watcher.fleet import Watched, resolve
from ops_anomaly.watcher.mutes import MAX_WINDOW_MS, muted_until
from ops_anomaly.watcher.watch_file import (
    DAY_SECONDS,
    PER_METRIC,
    WatchFile,
    model_of,
    retention_days,
)
from training import SourceError
from training.backtest import MIN_LENGTH
from training.console import NOTHING, age, counted, new_table, print_table
from training.cost import Cost, RetrainingCost, cost_of, retraining_cost
from training.entries import entry_rows
from training.sources.cloudwatch import source_errors
from training.sources.series import LabelledSeries

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ops_anomaly.watcher.watch_file import Options


def resolve_watch_file(cloudwatch: Any, watch_file: WatchFile) -> list[Watched]:
    """Return every entry with its metrics.

    Raises
    ------
    SourceError
        If CloudWatch can't be read.
    """
    with source_errors():
        return resolve(cloudwatch, watch_file)


@dataclass(frozen=True)
class Selected:
    """A model of a watch file, and the series that it is trained on.

    Attributes
    ----------
    metrics : int
        How many metrics it is for; of those, the one with the most readings is taken.
    """

    model: str
    metric: Metric
    metrics: int
    series: LabelledSeries


READINGS = 2 * MIN_LENGTH
"""Of a metric that a model of its own needs: as many to train as to evaluate."""

METRIC_MODEL = re.compile("(.+)-[0-9a-f]{16}")
"""The name of a metric's own model, as `watch_file.model_of` has it."""


def entry_of(name: str) -> str | None:
    """Return how the entry of a metric's own model begins; None of a model that was named.

    Examples
    --------
    >>> entry_of("web-9b13adae612bbe9d"), entry_of("ec2-cpu")
    ('web', None)
    """
    match = METRIC_MODEL.fullmatch(name)
    return match[1] if match else None


def named_models(options: Iterable[Options]) -> list[str]:
    """Return the models that entries name and that are trained by that name.

    Not those of one metric: an entry that names one holds the version that is live.
    """
    names = dict.fromkeys(each.model for each in options if each.model)
    return [name for name in names if name != PER_METRIC and entry_of(name) is None]


def metrics_by_model(fleet: Sequence[Watched]) -> dict[str, list[Metric]]:
    """Return the metrics of each model that an entry names.

    Raises
    ------
    SourceError
        If no entry names a model to train, or a model has no metric at the moment.
    """
    models: dict[str, list[Metric]] = {
        name: [] for name in named_models(each.options for each in fleet)
    }
    for watched in fleet:
        if watched.options.model in models:
            models[watched.options.model].extend(watched.metrics)
    if not models and any(each.options.model not in (None, PER_METRIC) for each in fleet):
        raise SourceError(
            "the entries of the watch file name models of one metric, whose live versions are held "
            "by that, so there is none to train; to train one, give its entry `model: per-metric`"
        )
    if not models:
        raise SourceError(
            "no entry of the watch file names a model, so there is none to train; add "
            "`model: NAME` to an entry, or leave it: each metric is then compared with its own "
            "history"
        )
    empty = [model for model, metrics in models.items() if not metrics]
    if empty:
        raise SourceError(
            f"no metric matches the entries of {', '.join(empty)} at the moment; see what the "
            "file matches with: ops-anomaly watch FILE"
        )
    return models


def select(
    models: Mapping[str, Sequence[Metric]], found: Mapping[Metric, LabelledSeries]
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


OLD_DAYS = 90
"""A model whose training ended earlier is marked: since then a service has been deployed often."""


@dataclass(frozen=True)
class PublishedModel:
    """What is to be known of a model before metrics are evaluated by it.

    Attributes
    ----------
    kind : str
        In words.
    has_sensitivity : bool
        Whether the option `sensitivity` has an effect, or the model has one threshold.
    step_ms : float, optional
        Between the readings that it was trained on; None where it does not say.
    trained_until : datetime, optional
        Of the last of these readings.
    """

    kind: str
    has_sensitivity: bool
    step_ms: float | None = None
    trained_until: datetime | None = None


Models = Mapping[str, PublishedModel | None]
"""By name, as far as they are published; None of the model of one metric, which is not read."""


def is_old(trained_until: datetime) -> bool:
    """Return whether a model was trained on data of long ago."""
    return (datetime.now(UTC) - trained_until).days > OLD_DAYS


def alerts_a_week(watched: Watched, models: Models) -> float | None:
    """Return how many false alerts to expect of an entry, or None where its model can't say.

    Of all its metrics together.
    """
    model = models.get(watched.options.model or "")
    if model and not model.has_sensitivity:
        return None
    return watched.options.sensitivity * len(watched.metrics)


def show_fleet(
    watch_file: WatchFile, fleet: Sequence[Watched], models: Models | None, console: Console
) -> None:
    """Print the entries, what they match, and what watching them costs and raises.

    Parameters
    ----------
    models
        None where models were not read.
    """
    print_table(fleet_table(fleet, models or {}), console)
    console.print()
    show_entries(fleet, console)
    console.print()
    show_alerts(watch_file, fleet, models or {}, console)
    for warning in warnings_of(fleet, models):
        console.print(warning, style="yellow", markup=False, highlight=False)
    show_cost(cost_of(watch_file, fleet), console)
    if retraining := retraining_cost(fleet):
        show_retraining_cost(retraining, console)


def fleet_record(
    watch_file: WatchFile, fleet: Sequence[Watched], models: Models | None
) -> dict[str, Any]:
    """Return all that `show_fleet` prints, and every metric, as JSON has it."""
    cost, retraining = cost_of(watch_file, fleet), retraining_cost(fleet)
    return {
        "entries": [
            {
                "name": watched.options.name,
                "metrics": [str(metric) for metric in watched.metrics],
                "model": watched.options.model,
                "sensitivity": watched.options.sensitivity,
                "options": msgspec.to_builtins(watched.options),
                "false_alerts_a_week": alerts_a_week(watched, models or {}),
            }
            for watched in fleet
        ],
        "dollars_a_month": asdict(cost) | {"total": cost.total},
        "retraining_dollars_a_month": retraining
        and asdict(retraining) | {"total": retraining.total},
        "warnings": list(warnings_of(fleet, models)),
    }


COLUMNS = ("entry", "metrics", "every", "model", "sensitivity", "alerts/wk")


def fleet_table(fleet: Sequence[Watched], models: Models) -> Table:
    """Return a row an entry; it fits 80 columns."""
    note = "Alerts a week: false ones, of all its metrics, as expected from its sensitivity."
    table = new_table("Watched metrics", note, *COLUMNS, names=("model",))
    for watched in fleet:
        options = watched.options
        periods = {metric.period for metric in watched.metrics}
        alerts = alerts_a_week(watched, models)
        table.add_row(
            options.name,
            f"{len(watched.metrics):,}",
            ", ".join(duration(1_000 * period) for period in sorted(periods)) or NOTHING,
            options.model or "its own history",
            "no effect" if alerts is None else f"{options.sensitivity:g}",
            NOTHING if alerts is None else f"{alerts:.1f}",
        )
    return table


def show_entries(fleet: Sequence[Watched], console: Console) -> None:
    """Print what each entry stands for, and its rules; what all of them have in common once."""
    now = milliseconds_now()
    rows = [
        entry_rows(each.options, {metric.period for metric in each.metrics}, now) for each in fleet
    ]
    common = [row for row in rows[0] if all(row in of_entry for of_entry in rows[1:])]
    for watched, of_entry in zip(fleet, rows, strict=True):
        console.print(
            f"  {watched.options.name}: {in_words(watched)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
            style=None if watched.metrics else "yellow",
        )
        show_rows([row for row in of_entry if len(fleet) == 1 or row not in common], console)
    if common and len(fleet) > 1:
        console.print("  all entries:")
        show_rows(common, console)


def show_rows(rows: Sequence[tuple[str, str]], console: Console) -> None:
    """Print labels and texts in two columns; URLs and ARNs stay whole."""
    for label, text in rows:
        lines = textwrap.wrap(
            text,
            console.width,
            initial_indent=f"      {label:<13}",
            subsequent_indent=19 * " ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def in_words(watched: Watched) -> str:
    """Return what an entry stands for: one of its metrics, and how many more there are."""
    if watched.metrics:
        return one_of(watched.metrics)
    if watched.taken:
        return "all that it matches is of earlier entries"
    return "matches nothing at the moment; check the spelling and that all dimensions are given"


def one_of(metrics: Sequence[Metric]) -> str:
    """Return the first metric, and how many more there are."""
    more = len(metrics) - 1
    return str(metrics[0]) + (f" and {more:,} more" if more else "")


def show_alerts(
    watch_file: WatchFile, fleet: Sequence[Watched], models: Models, console: Console
) -> None:
    """Print how many false alerts to expect."""
    count = sum(len(watched.metrics) for watched in fleet)
    alerts = sum(alerts_a_week(watched, models) or 0.0 for watched in fleet)
    console.print(
        f"{counted(count, 'metric')} of {number_of_entries(watch_file)}; expect {alerts:.1f} false "
        "alerts a week in all.",
        highlight=False,
    )


def number_of_entries(watch_file: WatchFile) -> str:
    """Return how many entries a watch file has, in words."""
    count = len(watch_file.entries)
    return "1 entry" if count == 1 else f"{count:,} entries"


def warnings_of(fleet: Sequence[Watched], models: Models | None) -> Iterator[str]:
    """Yield where an entry has less than it matches, and where it does not fit its model.

    Parameters
    ----------
    models
        None where models were not read.
    """
    if models is None and any(each.options.model not in (None, PER_METRIC) for each in fleet):
        yield (
            "Models were not read: of those with one threshold, sensitivity has no effect, and "
            "the forecast is wrong. Give --bucket to check."
        )
    yield from idle_mutes(fleet)
    for watched in fleet:
        yield from overlaps(watched)
        yield from gapless_mutes(watched)
        model = (models or {}).get(watched.options.model or "")
        if model:
            yield from misfits(watched, model)
        if watched.options.model == PER_METRIC:
            yield from without_model(watched, models)


def without_model(watched: Watched, models: Models | None) -> Iterator[str]:
    """Yield how many metrics of an entry have no model of their own yet, or never can."""
    able = [metric for metric in watched.metrics if can_have_model(metric)]
    never = len(watched.metrics) - len(able)
    if never:
        yield (
            f"{watched.options.name}: {never:,} of {counted(len(watched.metrics), 'metric')} can "
            f"never have a model of {'its' if never == 1 else 'their'} own: of such a period "
            f"CloudWatch keeps fewer readings than the {READINGS} that a model needs. Leave model "
            "out of the entry, or take a shorter period."
        )
    if models is None:
        return
    missing = sum(model_of(watched.options, metric) not in models for metric in able)
    if missing:
        have, are, own = ("has", "is", "its") if missing == 1 else ("have", "are", "their")
        count = f"{missing:,} of {counted(len(able), 'metric')}"
        yield (
            f"{watched.options.name}: {count} {have} no model of {own} own yet, and {are} compared "
            f"with {own} own history until a run trains one: Retrain in the stack, or ops-anomaly "
            "train --watch FILE --bucket BUCKET"
        )


def can_have_model(metric: Metric) -> bool:
    """Return whether CloudWatch keeps as many readings of a metric as a model of its own needs.

    Examples
    --------
    >>> daily = Metric.parse("AWS/S3 BucketSizeBytes BucketName=b Average 86400")
    >>> can_have_model(daily)
    False
    """
    return retention_days(metric.period) * DAY_SECONDS >= READINGS * metric.period


def overlaps(watched: Watched) -> Iterator[str]:
    """Yield of which earlier entries the metrics are that an entry matches too."""
    for owner in dict.fromkeys(watched.taken.values()):
        metrics = [metric for metric, name in watched.taken.items() if name == owner]
        yield (
            f"{watched.options.name} and {owner} both match {one_of(metrics)}: {owner} comes "
            f"first, so its options hold, and those of {watched.options.name} do not."
        )


def idle_mutes(fleet: Sequence[Watched]) -> Iterator[str]:
    """Yield mutes by dimension that no metric has: a typing error would mute nothing."""
    by_dimensions: dict[str, bool] = {}
    for watched in fleet:
        for mute in watched.options.mute:
            pairs = ", ".join(f"{name}={value}" for name, value in mute.dimensions.items())
            matches = any(map(mute.is_of, watched.metrics))
            by_dimensions[pairs] = by_dimensions.get(pairs, False) or matches
    for pairs, matches in by_dimensions.items():
        if pairs and not matches:
            yield f"The mute of {pairs} matches none of the metrics at the moment."


def gapless_mutes(watched: Watched) -> Iterator[str]:
    """Yield whether the windows of an entry's mutes follow each other for more than a year."""
    now = milliseconds_now()
    ends = [muted_until(watched.options.mute, metric, now) for metric in watched.metrics[:1]]
    if any(end is not None and end > now + MAX_WINDOW_MS for end in ends):
        yield f"{watched.options.name}: its mutes leave no gap, so nobody is ever notified of it."


def milliseconds_now() -> int:
    """Return the time, to the second."""
    return 1000 * int(datetime.now(UTC).timestamp())


def misfits(watched: Watched, model: PublishedModel) -> Iterator[str]:
    """Yield where an entry's options and metrics do not fit its model."""
    entry, name = watched.options.name, watched.options.model
    if not model.has_sensitivity:
        yield (
            f"{entry}: sensitivity has no effect: its model {name} is a {model.kind}, which has "
            "one threshold. Its alerts are not in the forecast."
        )
    periods = {1_000 * metric.period for metric in watched.metrics}
    if model.step_ms and (others := sorted(periods - {model.step_ms})):
        yield (
            f"{entry}: its model {name} was trained on readings of {duration(model.step_ms)}, and "
            f"is to evaluate some of {', '.join(map(duration, others))}. Train one for this "
            "period: ops-anomaly train --watch FILE"
        )
    until = model.trained_until
    if until and is_old(until):
        yield (
            f"{entry}: what its model {name} was trained on ended {age(until)} ago, on "
            f"{until:%Y-%m-%d}. Train it again: ops-anomaly train --watch FILE"
        )


def show_cost(cost: Cost, console: Console) -> None:
    """Print what it costs a month."""
    parts = {
        "GetMetricData": cost.reading,
        "S3": cost.requests + cost.versions,
        "Lambda": cost.compute,
        "logs": cost.logs,
        "ListMetrics": cost.listing,
        "models": cost.models,
        "score metrics": cost.scores,
        "alarms and totals of the stack": cost.stack,
    }
    console.print(
        f"Cost: [bold]{dollars(cost.total)} a month[/bold] in us-east-1 ({listed_parts(parts)}); "
        "requests to the API apart.",
        highlight=False,
    )


def show_retraining_cost(cost: RetrainingCost, console: Console) -> None:
    """Print what it costs a month to train the models of metrics every night."""
    console.print(
        f"With Retrain=rate(1 day): [bold]{dollars(cost.total)} a month[/bold] more "
        f"({listed_parts(cost.parts)}).",
        highlight=False,
    )


def listed_parts(parts: Mapping[str, float]) -> str:
    """Return the parts of a cost with their names; not those that cost nothing."""
    return ", ".join(f"{name} {dollars(part)}" for name, part in parts.items() if part)


def dollars(amount: float) -> str:
    """Return an amount as people write it.

    Examples
    --------
    >>> dollars(0.0876), dollars(12.345), dollars(0.0001)
    ('$0.09', '$12.35', 'less than $0.01')
    """
    return f"${amount:,.2f}" if amount >= 0.005 else "less than $0.01"

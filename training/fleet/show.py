"""What a watch file stands for, as the command line shows it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from detector.explanation import duration
from registry.fleet import Watched
from registry.metric import Metric
from registry.watch_file import WatchFile
from training.candidates.names import NOTHING
from training.fleet.cost import Cost, alerts_a_week, cost_of
from training.report.style import new_table

COLUMNS = ("entry", "metrics", "every", "judged by", "sensitivity", "alerts/wk")


def show_fleet(watch_file: WatchFile, fleet: Sequence[Watched], console: Console) -> None:
    """Print the entries, what they stand for, and what it would mean to watch them."""
    console.print(fleet_table(fleet))
    console.print()
    for watched in fleet:
        console.print(
            f"  {watched.options.name}: {in_words(watched.metrics)}",
            markup=False,
            highlight=False,
            soft_wrap=True,
            style=None if watched.metrics else "yellow",
        )
    console.print()
    count = sum(len(watched.metrics) for watched in fleet)
    alerts = sum(map(alerts_a_week, fleet))
    console.print(
        f"{count:,} metrics of {len(watch_file.entries)} entries; expect {alerts:.1f} false alerts "
        "a week in all, as far as past ones tell.",
        highlight=False,
    )
    show_cost(cost_of(watch_file, fleet), console)


def fleet_table(fleet: Sequence[Watched]) -> Table:
    """Return a row an entry; it fits 80 columns, but for the longest names."""
    note = "Alerts a week: false ones, of all its metrics, as far as past ones tell."
    table = new_table("What is watched", note, *COLUMNS)
    for watched in fleet:
        options = watched.options
        periods = {metric.period for metric in watched.metrics}
        table.add_row(
            options.name,
            f"{len(watched.metrics):,}",
            ", ".join(duration(1_000 * period) for period in sorted(periods)) or NOTHING,
            options.model or "its own history",
            f"{options.sensitivity:g}",
            f"{alerts_a_week(watched):.1f}",
        )
    return table


def in_words(metrics: Sequence[Metric]) -> str:
    """Return one of the metrics, and how many more there are."""
    if not metrics:
        return "stands for nothing at the moment; is it spelt right, with all its dimensions?"
    more = len(metrics) - 1
    return str(metrics[0]) + (f" and {more:,} more" if more else "")


def show_cost(cost: Cost, console: Console) -> None:
    """Print what it costs a month."""
    parts = {
        "GetMetricData": cost.reading,
        "S3": cost.state,
        "ListMetrics": cost.listing,
        "score metrics": cost.scores,
        "alarms and totals of the stack": cost.stack,
    }
    told = ", ".join(f"{name} {dollars(part)}" for name, part in parts.items() if part)
    console.print(
        f"Cost: [bold]{dollars(cost.total)} a month[/bold] in us-east-1 ({told}); Lambda apart: "
        f"{cost.invocations:,} invocations.",
        highlight=False,
    )


def dollars(amount: float) -> str:
    """Return an amount as people write it.

    Examples
    --------
    >>> dollars(0.0876), dollars(12.345), dollars(0.0001)
    ('$0.09', '$12.35', 'less than $0.01')
    """
    return f"${amount:,.2f}" if amount >= 0.005 else "less than $0.01"

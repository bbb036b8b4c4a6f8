"""The response of POST /detect as a page: the series, and a list of its alerts with charts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from ops_anomaly.charts import Chart, chart
from ops_anomaly.detection.formatting import duration
from ops_anomaly.pages import LEGEND, document, reading, severity_label

if TYPE_CHECKING:
    from ops_anomaly.api.schemas import Alert, DetectResponse, Point

MAX_ALERTS = 50
"""Alerts that are listed: the most severe ones. All of them are in the response as JSON."""

CONTEXT = 60
"""Readings that are shown before an alert, and half as many after it; more of a longer one."""

MAX_PERIODS = 20_000
"""Periods of a chart: a series with a gap of years is drawn in longer ones."""


def alert_list(response: DetectResponse) -> str:
    """Return a page that shows a series, and its alerts in order of time."""
    times = [milliseconds(point.timestamp) for point in response.points]
    chosen = sorted(response.alerts, key=lambda each: each.severity)[-MAX_ALERTS:]
    listed = [each for each in response.alerts if each in chosen]
    whole = chart(chart_of(response.points, times), height=180, title="The whole series")
    parts = [
        heading(response),
        LEGEND,
        f'<div class="oa-figure">{whole}</div>',
        *(f'<p class="oa-more">{escape(note)}</p>' for note in response.notes),
        "<h2>Alerts</h2>" if listed else NOTHING,
        *(alert_card(each, response.points, times) for each in listed),
    ]
    if len(response.alerts) > len(listed):
        more = f"{len(response.alerts) - len(listed)} more are less severe: see the JSON."
        parts.append(f'<p class="oa-more">{more}</p>')
    return document("Alerts", "".join(parts))


NOTHING = """
<h2>Alerts</h2><div class="oa-empty"><h3>No alerts</h3>
<p>Every reading that could be evaluated is as expected.</p></div>
"""


def heading(response: DetectResponse) -> str:
    """Return how many alerts there are, in what, and by which model."""
    count = len(response.alerts)
    alerts = f"{count} alert{'' if count == 1 else 's'} in {len(response.points):,} readings"
    basis = f"model {escape(response.model)}" if response.model else "its own history"
    return (
        f'<div class="oa-top"><h1>{alerts}</h1><p class="oa-muted">Compared with {basis}, '
        f"confidence {100 * response.confidence:.0f} %</p></div>"
    )


def alert_card(alert: Alert, points: Sequence[Point], times: Sequence[int]) -> str:
    """Return an alert: when, how much, why, and a chart of what is around it."""
    first, last, peak = (
        times.index(milliseconds(each)) for each in (alert.start, alert.end, alert.peak)
    )
    step = usual_step(times)
    start, end = times[first], times[last] + step
    worst = points[peak]
    margin = max(CONTEXT, last - first)
    window = slice(max(first - margin, 0), last + margin // 2 + 1)
    around = chart_of(points[window], times[window], step)
    drawn = chart(around, height=160, title=alert.reason, span=(start, end))
    return (
        f'<article class="oa-card"><div class="oa-head"><h3>{day_and_time(start)}</h3>'
        f"{severity_label(alert.severity)}</div>"
        f'<p class="oa-what">{reading(worst.value, worst.expected, worst.lower, worst.upper)}, '
        f'for {duration(end - start)}</p><p class="oa-why">{escape(alert.reason)}</p>'
        f'<div class="oa-figure">{drawn}</div></article>'
    )


def chart_of(points: Sequence[Point], times: Sequence[int], step: int | None = None) -> Chart:
    """Return a chart of readings, which may be missing or come at irregular times.

    Parameters
    ----------
    step : int, optional
        The usual one, milliseconds; by default, that of these readings.
    """
    length = times[-1] - times[0]
    step = max(step or usual_step(times), length // MAX_PERIODS, 1)
    by_period = {
        round((time - times[0]) / step): point for time, point in zip(times, points, strict=True)
    }
    periods = [by_period.get(number) for number in range(max(by_period) + 1)]
    return Chart(
        start=times[0],
        step=step,
        values=[each.value if each else None for each in periods],
        expected=[each.expected if each else None for each in periods],
        lower=[each.lower if each else None for each in periods],
        upper=[each.upper if each else None for each in periods],
        unusual=[number for number, each in enumerate(periods) if each and each.is_anomaly],
    )


def usual_step(times: Sequence[int]) -> int:
    """Return how far apart most readings are, milliseconds."""
    return int(np.median(np.diff(times))) if len(times) > 1 else 1


def milliseconds(timestamp: str) -> int:
    """Return a time of the response."""
    return round(datetime.fromisoformat(timestamp).timestamp() * 1000)


def day_and_time(time: int) -> str:
    """Return a time with its day, as people write it."""
    moment = datetime.fromtimestamp(time / 1000, UTC)
    return f"{moment:%a} {moment.day} {moment:%b %Y, %H:%M} UTC"

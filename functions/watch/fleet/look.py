"""One look at metrics: what is new of them is read and judged, and incidents begin and end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from registry.errors import CloudWatchRefusedError
from registry.history import Span, read_history
from watch.fleet.grid import Grid
from watch.fleet.incident import Closed, go_on, over_because
from watch.fleet.judge import slots_of
from watch.fleet.memory import Memory
from watch.fleet.notices import notice_of

if TYPE_CHECKING:
    from registry.fleet import Watched
    from registry.history import Readings
    from registry.metric import Metric
    from watch.fleet.incident import Opened
    from watch.fleet.judge import Judge, Warm

MISSING = 3
"""A metric is missing if the last periods, so many, have no reading."""

OnRefused = Callable[["Metric", Exception], None]


@dataclass(frozen=True)
class Looked:
    """What a look found, before it is noted.

    Attributes
    ----------
    is_changed : bool
        Whether there is anything to note.
    warm : dict of str to Warm
        The detectors after it, by metric.
    scores : dict of Metric to float
        The last score of each metric that publishes it.
    steps : list of Opened or Closed
    late : int
        Readings that came after their period had been asked for.
    missing : int
        Metrics without a reading in the last periods.
    """

    memory: Memory
    is_changed: bool
    warm: Mapping[str, Warm]
    scores: Mapping[Metric, float]
    steps: Sequence[Opened | Closed]
    late: int
    missing: int


def look(
    memory: Memory,
    fleet: Sequence[Watched],
    cloudwatch: Callable[[], Any],
    judge: Judge,
    now: float,
    on_refused: OnRefused,
) -> Looked:
    """Look at the metrics of a fleet.

    Parameters
    ----------
    memory
        What was known of them.
    cloudwatch
        Returns a client of boto3; called if something is due.
    now : float
        Seconds since 1970.
    on_refused
        Called with a metric that CloudWatch refuses, and its error; the others are looked at.

    Raises
    ------
    CloudWatchError
        If CloudWatch does not answer.
    """
    options = {metric: watched.options for watched in fleet for metric in watched.metrics}
    grids = {metric: memory.grids.get(str(metric)) or Grid.nothing(metric) for metric in options}
    spans = [
        Span(metric, *due)
        for metric, grid in grids.items()
        if (due := grid.span(now, slots_of(options[metric].history_days, metric.period)))
    ]
    warm: dict[str, Warm] = {}
    scores: dict[Metric, float] = {}
    steps: list[tuple[Metric, Opened | Closed]] = []
    late = 0
    for span, readings in read_each(cloudwatch, spans, on_refused):
        metric, before = span.metric, grids[span.metric]
        slots = slots_of(options[metric].history_days, metric.period)
        grid, is_fresh = before.noted(readings, span.end, slots)
        if len(before.values):
            late += int((grid.readings[0][is_fresh] < before.end).sum())
        judgement = judge.judge(grid, is_fresh, options[metric])
        if judgement:
            course, found = go_on(grid.course, metric, judgement)
            grid = replace(grid, course=course)
            steps += [(metric, step) for step in found]
            warm[str(metric)] = judgement.warm
            if options[metric].score_metric:
                scores[metric] = float(judgement.detection.scores[-1])
        grids[metric], ended = ended_if_over(grid)
        steps += [(metric, step) for step in ended]
    for key, grid in memory.grids.items():
        if grid.metric in grids:
            continue
        judge.forget(key)
        if grid.course.incident:
            steps.append((grid.metric, Closed(grid.course.incident, "no longer watched")))
    return Looked(
        memory=Memory(
            {str(metric): grid for metric, grid in grids.items() if len(grid.values)},
            (*memory.outbox, *(notice_of(step, metric, now) for metric, step in steps)),
        ),
        is_changed=bool(spans) or any(grid.metric not in grids for grid in memory.grids.values()),
        warm=warm,
        scores=scores,
        steps=[step for _, step in steps],
        late=late,
        missing=sum(bool(np.isnan(grid.values[-MISSING:]).all()) for grid in grids.values()),
    )


def ended_if_over(grid: Grid) -> tuple[Grid, list[Closed]]:
    """End a metric's incident if nothing anomalous was read for a while."""
    incident = grid.course.incident
    if incident is None:
        return grid, []
    times, _ = grid.readings
    last_reading = int(times[-1]) if len(times) else 0
    because = over_because(incident, grid.metric.period, grid.end, last_reading)
    if because is None:
        return grid, []
    return replace(grid, course=replace(grid.course, incident=None)), [Closed(incident, because)]


def read_each(
    cloudwatch: Callable[[], Any], spans: Sequence[Span], on_refused: OnRefused
) -> Iterator[tuple[Span, Readings]]:
    """Read series; where CloudWatch refuses a call, find the metric that it is about."""
    if not spans:
        return
    try:
        yield from list(read_history(cloudwatch(), spans))
    except CloudWatchRefusedError as error:
        if len(spans) == 1:
            on_refused(spans[0].metric, error)
            return
        middle = len(spans) // 2
        yield from read_each(cloudwatch, spans[:middle], on_refused)
        yield from read_each(cloudwatch, spans[middle:], on_refused)

"""Charts of metrics as SVG: readings, what was expected of them, what was unusual; no script.

A chart is as wide as the page lets it, and its letters keep their size: the lines are in an inner
drawing that stretches, the labels stand beside it in percent. Colours are variables of
`stylesheet`, which a page includes once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from html import escape
from itertools import groupby, pairwise
from typing import Literal, NamedTuple

from ops_anomaly.detection.formatting import number
from ops_anomaly.validation import Contract

Theme = Literal["light", "dark"]

PALETTES: dict[Theme, dict[str, str]] = {
    "light": {
        "surface": "#ffffff",
        "ink": "#16191f",
        "muted": "#545b64",
        "rule": "#e4e7eb",
        "reading": "#0b6bcb",
        "expected": "#7d8998",
        "band": "#dbe7f5",
        "alert": "#d1242f",
        "good": "#1a7f37",
    },
    "dark": {
        "surface": "#161d26",
        "ink": "#eef1f5",
        "muted": "#a4adb8",
        "rule": "#2f3945",
        "reading": "#6cb4ff",
        "expected": "#8a96a5",
        "band": "#233648",
        "alert": "#ff7a73",
        "good": "#57c878",
    },
}
"""Text on `surface` has a contrast of 4.5 or more."""

RULES = """
.oa-chart{display:block;max-width:100%;overflow:visible;
font:11px/1 system-ui,-apple-system,"Segoe UI",sans-serif}
.oa-chart text{fill:var(--oa-muted);paint-order:stroke;stroke:var(--oa-surface);stroke-width:3px;
stroke-linejoin:round}
.oa-chart path,.oa-chart rect{fill:none;stroke-linejoin:round;stroke-linecap:round;
vector-effect:non-scaling-stroke}
.oa-chart .oa-rule{stroke:var(--oa-rule)}
.oa-chart .oa-shade{fill:var(--oa-alert);fill-opacity:.12}
.oa-chart .oa-band{fill:var(--oa-band)}
.oa-chart .oa-expected{stroke:var(--oa-expected);stroke-dasharray:4 4}
.oa-chart .oa-reading{stroke:var(--oa-reading);stroke-width:1.6px}
.oa-chart .oa-alone{stroke:var(--oa-reading);stroke-width:4px}
.oa-chart .oa-unusual{stroke:var(--oa-alert);stroke-width:5px}
.oa-chart .oa-incident{fill:var(--oa-alert);stroke:var(--oa-alert);stroke-width:2px}
.oa-chart .oa-peak{fill:var(--oa-alert);font-weight:600}
.oa-chart .oa-name{fill:var(--oa-ink);font-size:12px}
"""

TOP, BOTTOM = 16, 34
"""Pixels above and below the lines of a chart: a label, and two lines of times."""

NAMES, PITCH = 0.32, 22
"""Of a timeline: the share of the width that names take, and the pixels of a line."""

LETTER = 6.5
"""Pixels that a letter of a label takes."""

FINE = 2
"""Whole units of the drawing for each pixel: whole numbers are short, halves of a pixel exact."""

CLOSE_PERIODS = 4
"""Unusual readings so far apart are shaded as one: incidents close after three periods without."""

MAX_MAGNITUDE = 1e300
"""Larger values are not drawn: the difference of two of them may not be a number."""

TIME_STEPS = [
    *(timedelta(minutes=count) for count in (1, 2, 5, 10, 15, 30)),
    *(timedelta(hours=count) for count in (1, 2, 3, 6, 12)),
    *(timedelta(days=count) for count in (1, 2, 3, 7, 14, 28, 91, 182, 364)),
]
DAY = timedelta(days=1)


class Chart(Contract, frozen=True):
    """What is drawn of a metric: n periods, one after the other.

    Attributes
    ----------
    start, step : int
        When the first period begins, and how long one is, milliseconds.
    values, expected, lower, upper : list of float or None
        (n,) each; None where it is not known.
    unusual : list of int
        Positions of the unusual readings.
    """

    start: int
    step: int
    values: list[float | None]
    expected: list[float | None]
    lower: list[float | None]
    upper: list[float | None]
    unusual: list[int]


class Span(NamedTuple):
    """An incident on a timeline.

    Attributes
    ----------
    start, end : int
        Milliseconds.
    severity : float
        0 to 1.
    label : str
        What is shown when somebody points at it.
    """

    start: int
    end: int
    severity: float
    label: str = ""


class Row(NamedTuple):
    """A line of a timeline: a metric or an entry, and its incidents."""

    name: str
    spans: Sequence[Span]


def stylesheet(theme: Theme | None = None) -> str:
    """Return the styles of charts, and the variables of colours for what is around them.

    Parameters
    ----------
    theme
        None follows the reader's system.
    """
    if theme:
        return _variables(theme) + RULES
    dark = f"@media(prefers-color-scheme:dark){{{_variables('dark')}}}"
    return _variables("light") + dark + RULES


def _variables(theme: Theme) -> str:
    colours = "".join(f"--oa-{name}:{colour};" for name, colour in PALETTES[theme].items())
    return f".oa,.oa-chart{{color-scheme:{theme};{colours}}}"


def chart(
    chart: Chart,
    *,
    width: int = 640,
    height: int = 200,
    title: str = "",
    span: tuple[int, int] | None = None,
    zone: tzinfo = UTC,
) -> str:
    """Return a chart of a metric around an anomaly.

    Parameters
    ----------
    chart
        Its unusual readings are dots, and the most unusual one is labelled.
    width, height : int
        Pixels; on a narrower page it is as wide as that.
    title
        For screen readers, and for those who point at it.
    span : (start, end), optional
        What is shaded, milliseconds; by default, unusual readings that are close together.
    zone
        Of the times.
    """
    inner = height - TOP - BOTTOM
    drawing = _Drawing(chart, FINE * width, FINE * inner, ticks=max(inner // 32, 1))
    rules = "".join(f"M0 {drawing.y(tick)}h{drawing.width}" for tick in drawing.ticks)
    parts = [
        _path("oa-rule", rules),
        _path("oa-band", drawing.band()),
        *(drawing.shade(*each) for each in ([span] if span else drawing.spans)),
        _path("oa-expected", drawing.line(chart.expected)),
        *drawing.readings(),
    ]
    labels = [
        _text(0, TOP + drawing.y(tick) / FINE - 4, label) for tick, label in drawing.ticks.items()
    ]
    labels += _time_labels(drawing.times, drawing.share, height - BOTTOM + 14, width, zone)
    labels.append(drawing.peak_label() if drawing.known else _text(0.5, height / 2, "No readings"))
    stretched = (
        f'<svg y="{TOP}" width="100%" height="{inner}" preserveAspectRatio="none" '
        f'viewBox="0 0 {drawing.width} {drawing.height}">{"".join(parts)}</svg>'
    )
    size = f'width="{width}" height="{height}"'
    return _svg(size, title, _described(drawing, zone), stretched + "".join(labels))


def sparkline(chart: Chart, *, width: int = 160, height: int = 36, title: str = "") -> str:
    """Return a small chart without labels: readings, the unusual ones, and when these were."""
    drawing = _Drawing(chart, FINE * width, FINE * height)
    parts = [*(drawing.shade(*each) for each in drawing.spans), *drawing.readings()]
    size = f'width="{width}" height="{height}" viewBox="0 0 {drawing.width} {drawing.height}"'
    return _svg(size, title, _described(drawing, UTC), "".join(parts))


def timeline(
    rows: Sequence[Row],
    start: int,
    stop: int,
    *,
    width: int = 960,
    title: str = "",
    zone: tzinfo = UTC,
) -> str:
    """Return the incidents of a fleet, a line for each metric; the more severe, the stronger.

    Parameters
    ----------
    rows
        In the order in which they are shown.
    start, stop : int
        What is shown, milliseconds.
    """

    def share(time: float) -> float:
        return NAMES + (1 - NAMES) * min(max((time - start) / max(stop - start, 1), 0), 1)

    letters = int(NAMES * width / LETTER)
    drawn = [_row(row, PITCH * place, share, letters) for place, row in enumerate(rows)]
    bottom = PITCH * len(rows)
    drawn += _time_labels((start, stop), share, bottom + 16, width * (1 - NAMES), zone)
    counted = f"{sum(len(row.spans) for row in rows)} incidents in {len(rows)} rows"
    size = f'width="{width}" height="{bottom + 36}"'
    return _svg(size, title, f"{counted}, {_period(start, stop, zone)}.", "".join(drawn))


def _row(row: Row, top: int, share: Callable[[float], float], letters: int) -> str:
    """Return a line of a timeline: a rule below, the name, and the incidents."""
    name, line = escape(row.name), top + PITCH
    parts = [
        f'<line class="oa-rule" x1="0" y1="{line}" x2="100%" y2="{line}"/>',
        f'<svg y="{top}" width="{100 * NAMES - 1:.4g}%" height="{PITCH}">',
        f'<text class="oa-name" y="15"><title>{name}</title>{escape(_cut(row.name, letters))}',
        "</text></svg>",
    ]
    for each in row.spans:
        left, right = share(each.start), share(each.end)
        opacity = 0.25 + 0.75 * min(max(each.severity, 0), 1)
        parts.append(
            f'<rect class="oa-incident" x="{100 * left:.3f}%" y="{top + 6}" '
            f'width="{100 * (right - left):.3f}%" height="11" opacity="{opacity:.2f}">'
            f"<title>{escape(each.label or row.name)}</title></rect>"
        )
    return "".join(parts)


class _Drawing:
    """A chart in units of the drawing: columns to the right, lines from the top.

    Attributes
    ----------
    known : list of int
        Positions of the readings that can be drawn.
    unusual : list of int
        Those of them that are unusual.
    limits : (low, high)
        Of the values at the lower and upper edge.
    ticks : dict of float to str
        Round values, and their labels; the readings begin beside these.
    """

    def __init__(self, chart: Chart, width: int, height: int, ticks: int = 0) -> None:
        self.chart, self.width, self.height = chart, width, height
        self.known = [at for at, value in enumerate(chart.values) if _is_drawn(value)]
        self.unusual = sorted(set(self.known) & set(chart.unusual))
        self.limits = _limits(chart, is_low=self.is_low)
        self.ticks = _ticks(*self.limits, ticks) if ticks and self.known else {}
        letters = max(map(len, self.ticks.values()), default=0)
        self.left = 0.01 + min(FINE * LETTER * letters / width, 0.25)
        self.positions = list(_thinned(chart.values, width // FINE))

    @property
    def times(self) -> tuple[int, int]:
        """When the first and the last period begin."""
        chart = self.chart
        return chart.start, chart.start + chart.step * max(len(chart.values) - 1, 0)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """From the first of unusual readings that are close together to the end of the last."""
        edges = [
            (before, after)
            for before, after in pairwise([-math.inf, *self.unusual, math.inf])
            if after - before > CLOSE_PERIODS
        ]
        start, step = self.chart.start, self.chart.step
        return [
            (start + step * int(first), start + step * (int(last) + 1))
            for (_, first), (last, _) in pairwise(edges)
        ]

    def share(self, time: float) -> float:
        """Return where a time is between the left edge, 0, and the right one, 1."""
        first, last = self.times
        inside = (time - first) / (last - first) if last > first else 0.5
        return self.left + (0.99 - self.left) * inside

    def x(self, position: float) -> int:
        """Return the column of a position."""
        return round(self.width * self.share(self.chart.start + self.chart.step * position))

    def y(self, value: float) -> int:
        """Return the line of a value; of one far outside, a line outside."""
        low, high = self.limits
        return round(self.height * min(max((high - value) / (high - low), -1.0), 2.0))

    def shade(self, start: int, end: int) -> str:
        """Return a rectangle from one time to another, half a period around its readings.

        Nothing of what is not within the chart.
        """
        half = self.chart.step / 2
        left = max(round(self.width * self.share(start - half)), 0)
        right = min(round(self.width * self.share(end - half)), self.width)
        if right < 0 or left > self.width:
            return ""
        width = max(right - left, FINE)
        size = f'x="{left}" y="0" width="{width}" height="{self.height}"'
        return f'<rect class="oa-shade" {size}/>'

    def line(self, values: Sequence[float | None]) -> str:
        """Return the path of a line, interrupted where a value is not known."""
        return "".join(map(_polyline, self._runs(values)))

    def band(self) -> str:
        """Return the path of the area between the bounds, where both are known."""
        both = [
            lower if _is_drawn(upper) else None
            for lower, upper in zip(self.chart.lower, self.chart.upper, strict=True)
        ]
        path = ""
        for run in self._runs(both):
            upper = [(self.x(at), self.y(self.chart.upper[at] or 0.0)) for at in run.positions]
            path += f"{_polyline(_Run(run.positions, [*upper, *reversed(run.points)]))}z"
        return path

    def readings(self) -> list[str]:
        """Return the line of the readings, and dots for those that are alone or unusual."""
        runs = list(self._runs(self.chart.values))
        alone = (run.points[0] for run in runs if len(run.points) == 1)
        unusual = dict.fromkeys(self._point(at, self.chart.values) for at in self.unusual)
        return [
            _path("oa-reading", "".join(_polyline(run) for run in runs if len(run.points) > 1)),
            _path("oa-alone", _dots(alone)),
            _path("oa-unusual", _dots(unusual)),
        ]

    def peak_label(self) -> str:
        """Return the value of the most unusual reading, as a label beside its dot."""
        peak = self.peak
        if peak is None:
            return ""
        value = self.chart.values[peak] or 0.0
        line = TOP + self.y(value) / FINE + (17 if self.is_low else -8)
        return _text(self.x(peak) / self.width, line, _short(value), "oa-peak")

    @cached_property
    def peak(self) -> int | None:
        """Position of the unusual reading that is farthest from what is usual."""
        values = self.chart.values
        return max(
            self.unusual, key=lambda at: abs((values[at] or 0.0) - self._usual(at)), default=None
        )

    @property
    def is_low(self) -> bool:
        """Whether the most unusual reading is lower than usual."""
        peak = self.peak
        return peak is not None and (self.chart.values[peak] or 0.0) < self._usual(peak)

    @cached_property
    def _median(self) -> float:
        values = sorted(_known(self.chart.values))
        return values[len(values) // 2]

    def _usual(self, position: int) -> float:
        expected = self.chart.expected[position]
        if expected is not None and _is_drawn(expected):
            return expected
        return self._median

    def _runs(self, values: Sequence[float | None]) -> Iterator[_Run]:
        """Yield the stretches of known values."""
        for is_drawn, group in groupby(self.positions, lambda at: _is_drawn(values[at])):
            if is_drawn:
                positions = list(group)
                yield _Run(positions, [self._point(at, values) for at in positions])

    def _point(self, position: int, values: Sequence[float | None]) -> tuple[int, int]:
        return self.x(position), self.y(values[position] or 0.0)


class _Run(NamedTuple):
    """Known values that follow each other, and where they are drawn."""

    positions: list[int]
    points: list[tuple[int, int]]


def _is_drawn(value: float | None) -> bool:
    return value is not None and abs(value) <= MAX_MAGNITUDE


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and abs(value) <= MAX_MAGNITUDE]


def _limits(chart: Chart, *, is_low: bool) -> tuple[float, float]:
    """Return what the lower and the upper edge of a chart stand for.

    Readings and expected values are inside; of wide bounds, no more than makes the chart three
    times as high. What is never negative is drawn from zero, unless it is far from it. Below what
    is unusually low, there is space for its label.
    """
    bounds = _known([*chart.lower, *chart.upper])
    seen = _known([*chart.values, *chart.expected]) or bounds or [0.0]
    low, high = min(seen), max(seen)
    is_positive = low >= 0
    reach = high - low or abs(high) / 5 or 1.0
    inside = [min(max(bound, low - reach), high + reach) for bound in bounds]
    if low == high:
        inside += [low - reach, high + reach]
    low, high = min([low, *inside]), max([high, *inside])
    if is_positive and low < 0.4 * high:
        low = 0.0
    margin = max(0.06 * (high - low), 1e-12 * max(abs(low), abs(high)), 1e-290)
    return low - margin * (3 if is_low else 0.25 if low == 0 else 1), high + margin


def _thinned(values: Sequence[float | None], columns: int) -> Iterator[int]:
    """Yield the positions that are drawn: all, or the lowest and the highest of each column."""
    size = math.ceil(len(values) / max(columns, 1))
    for start in range(0, len(values), max(size, 1)):
        column = range(start, min(start + size, len(values)))
        known = [(values[at] or 0.0, at) for at in column if _is_drawn(values[at])]
        if size <= 2:
            yield from column
        elif known:
            yield from sorted({min(known)[1], max(known)[1]})
        else:
            yield start


def _ticks(low: float, high: float, count: int) -> dict[float, str]:
    """Return round numbers within limits, so many at most, or one more; and their labels."""
    wanted = (high - low) / count
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next(unit * power for unit in (1, 2, 2.5, 5, 10, 20) if unit * power >= wanted)
    places = range(math.ceil(low / step), math.floor(high / step) + 1)
    return {place * step: _tick_label(place * step, step) for place in places}


def _tick_label(tick: float, step: float) -> str:
    """Return a tick with the digits that tell it apart from the next one."""
    if abs(tick) < step / 2:
        return "0"
    digits = math.floor(math.log10(abs(tick))) - math.floor(math.log10(step)) + 2
    return _short(tick, min(max(digits, 1), 15))


def _short(value: float, digits: int = 4) -> str:
    """Return a number as people write it, without dozens of zeros."""
    is_short = value == 0 or 1e-6 <= abs(value) < 1e15
    return number(value, digits) if is_short else f"{value:.{min(digits, 6)}g}"


def _time_labels(
    between: tuple[int, int],
    share: Callable[[float], float],
    line: float,
    width: float,
    zone: tzinfo,
) -> list[str]:
    """Return labels of round times; the first one, and those at midnight, have the date below."""
    start, stop = between
    step, moments = _time_ticks(start, stop, max(min(width // 110, 8), 2), zone)
    labels, day = [], None
    for moment in moments:
        at = share(moment.timestamp() * 1000)
        date = f"{moment.day} {moment:%b}"
        if step >= DAY:
            labels.append(_text(at, line, date))
        else:
            labels.append(_text(at, line, f"{moment:%H:%M}"))
            if moment.date() != day:
                labels.append(_text(at, line + 14, f"{moment:%a} {date}"))
        day = moment.date()
    return labels


def _time_ticks(
    start: int, stop: int, count: float, zone: tzinfo
) -> tuple[timedelta, list[datetime]]:
    """Return a step and the round times of a zone within two times, about so many."""
    first, last = _moment(start, zone), _moment(stop, zone)
    step = next((each for each in TIME_STEPS if (last - first) / each <= count), TIME_STEPS[-1])
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    steps = range(math.floor(((last - first) + DAY) / step) + 2)
    # by the clock on the wall, so that noon is noon where the clocks change within the chart
    moments = [(midnight + place * step).replace(tzinfo=zone) for place in steps]
    return step, [each for each in moments if start <= each.timestamp() * 1000 <= stop]


def _moment(time: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(time / 1000, zone)


def _period(start: int, stop: int, zone: tzinfo) -> str:
    first, last = _moment(start, zone), _moment(stop, zone)
    return f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M %Z}"


def _described(drawing: _Drawing, zone: tzinfo) -> str:
    """Return a chart in words, for those who do not see it."""
    values = _known(drawing.chart.values)
    if not values:
        return "No readings."
    words = f"Readings from {_short(min(values))} to {_short(max(values))}, "
    words += f"{_period(*drawing.times, zone)}; {len(drawing.unusual)} unusual"
    peak = drawing.peak
    return (
        f"{words}."
        if peak is None
        else f"{words}, up to {_short(drawing.chart.values[peak] or 0.0)}."
    )


def _svg(size: str, title: str, described: str, content: str) -> str:
    named = f"<title>{escape(title)}</title>" if title else ""
    return (
        f'<svg class="oa-chart" role="img" {size}>{named}<desc>{escape(described)}</desc>'
        f"{content}</svg>"
    )


def _path(kind: str, path: str) -> str:
    return f'<path class="{kind}" d="{path}"/>' if path else ""


def _polyline(run: _Run) -> str:
    """Return a run as a path, each point relative to the one before: these numbers are short."""
    points = run.points
    moves = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(points)]
    lines = " ".join(f"{right} {down}" for right, down in moves)
    return f"M{points[0][0]} {points[0][1]}l{lines or '0 0'}"


def _dots(points: Iterable[tuple[int, int]]) -> str:
    """Return lines of no length: with round ends they are dots, however the drawing stretches."""
    return "".join(f"M{x} {y}h0" for x, y in points)


def _cut(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def _text(share: float, line: float, text: str, kind: str = "") -> str:
    """Return a label at a share of the width, kept inside at the edges."""
    anchor = "start" if share < 0.09 else "end" if share > 0.94 else "middle"
    named = f' class="{kind}"' if kind else ""
    return (
        f'<text{named} x="{100 * share:.4g}%" y="{line:.4g}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )

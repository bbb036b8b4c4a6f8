"""The page of a run: what was trained, what was not and why, and what to do about it.

It is written where neither matplotlib nor a template engine is installed, and needs no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC
from html import escape
from statistics import median

from ops_anomaly.detection.formatting import duration
from ops_anomaly.detection.timeline import utc
from ops_anomaly.pages import document, time_of_day
from training.fleet import dollars, listed_parts
from training.retraining.documents import Outcome, Report, Summary
from training.retraining.guard import FEWER_FAULTS, Figures, share
from training.retraining.reasons import Group, command_for, grouped, resume_command

MAX_ROWS, MAX_OPEN = 100, 5
"""Metrics that are listed of one reason, the worst first; and of how many the list is open."""

MAX_TEXT = 500
"""Characters of a metric's text, and of its reason."""

MAX_ENTRIES = 50
"""Entries with a row of their own: those with the most metrics."""

FIGURES = (
    '<th class="oa-wide">faults found,<br>live → new</th>'
    '<th class="oa-wide">alerts a week,<br>live → new</th>'
)

CENT = 0.005
"""Dollars from which a part of the cost is listed."""

WORDS = {
    "published": "published",
    "trained": "trained",
    "kept": "kept",
    "refused": "refused",
    "failed": "failed",
    "missing": "not reached",
}
MEANINGS = {
    "published": "live now",
    "trained": "it could be published, but there was no bucket",
    "kept": "the live model stays: of the same readings or later ones, or just published",
    "refused": "by the guard; the live model stays",
    "failed": "an error; the live model stays",
    "missing": "the batch did not end; the live model stays",
}

STYLES = """
.oa-tiles{display:flex;flex-wrap:wrap;gap:12px;margin:18px 0 14px}
.oa-tile{flex:1 1 128px;border-top:3px solid var(--oa-rule);padding-top:8px}
.oa-tile b{display:block;font-size:26px;line-height:1.1;font-variant-numeric:tabular-nums}
.oa-tile .oa-muted{font-size:12px}
.oa-share{display:flex;gap:2px;height:10px}
.oa-share i{min-width:3px;border-radius:2px}
.oa-published,.oa-trained{background:var(--oa-good)}
.oa-kept{background:var(--oa-expected)}
.oa-refused{background:var(--oa-reading)}
.oa-failed,.oa-missing{background:var(--oa-alert)}
.oa-tile.oa-published,.oa-tile.oa-trained{background:none;border-color:var(--oa-good)}
.oa-tile.oa-kept{background:none;border-color:var(--oa-expected)}
.oa-tile.oa-refused{background:none;border-color:var(--oa-reading)}
.oa-tile.oa-failed,.oa-tile.oa-missing{background:none;border-color:var(--oa-alert)}
.oa-of-refused{border-left-color:var(--oa-reading)}
.oa-of-refused .oa-severity{border-color:var(--oa-reading);color:var(--oa-reading)}
.oa code{display:block;margin:10px 0 0;padding:8px 10px;border:1px solid var(--oa-rule);
border-radius:6px;font:12px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;
overflow-wrap:anywhere;user-select:all}
.oa-more td{color:var(--oa-ink)}
.oa .oa-metric{font-size:12px}
.oa .oa-numbers{font-size:12px;white-space:nowrap}
.oa-models{display:flex;flex-wrap:wrap;gap:8px 32px;align-items:center}
.oa-models .oa-chart{flex:1 1 320px;max-width:420px;height:auto}
.oa-models p{flex:1 1 260px}
.oa-chart .oa-dot{fill:var(--oa-good);fill-opacity:.55}
.oa-chart .oa-dot-refused{fill:var(--oa-reading);fill-opacity:.75}
.oa-chart .oa-equal{stroke:var(--oa-expected);stroke-dasharray:4 4}
.oa-chart .oa-margin{fill:var(--oa-reading);fill-opacity:.08;stroke:none}
.oa-key{white-space:nowrap}
.oa-key i{display:inline-block;width:10px;height:10px;border-radius:5px;margin-right:6px}
"""


def run_page(report: Report) -> str:
    """Return the page of a run, as a document of HTML."""
    groups = grouped(report.outcomes)
    parts = [heading(report), tiles(report), shares(report)]
    if groups or report.missing:
        parts.append("<h2>What to do</h2>")
    parts += [missing_card(report)] if report.missing else []
    parts += [group_card(each, report.bucket) for each in groups]
    parts += [comparison(report.outcomes), entries_table(report), cost_line(report)]
    return document(f"Retraining {report.run}", "".join(parts), styles=STYLES)


def heading(report: Report) -> str:
    """Return when the run was, how long it took, and what it cost."""
    where = "by the stack" if report.execution else "by a machine"
    return (
        f'<div class="oa-top"><h1>Retraining of {time_of_day(report.started, UTC)} UTC</h1>'
        f'<p class="oa-muted">{escape(report.run)}, {where}: '
        f"{duration(report.finished - report.started)}, cost {dollars(report.cost.total)}</p></div>"
    )


def counts_in_words(report: Summary) -> str:
    """Return what became of how many metrics, in a line.

    Such as "2 published, 1 refused, of 3 metrics".
    """
    parts = [f"{count:,} {WORDS[status]}" for status, count in all_counts(report)]
    total = sum(count for _, count in all_counts(report))
    return f"{', '.join(parts)}, of {total:,} metric{'' if total == 1 else 's'}"


def all_counts(report: Summary) -> Iterator[tuple[str, int]]:
    """Yield each status that a metric has, and how many have it."""
    for status, count in [*report.counts.items(), ("missing", report.missing)]:
        if count:
            yield status, count


def tiles(report: Report) -> str:
    """Return how many metrics have which outcome, and what that means."""
    return (
        '<div class="oa-tiles">'
        + "".join(
            f'<div class="oa-tile oa-{status}"><b>{count:,}</b>{WORDS[status]}'
            f'<div class="oa-muted">{MEANINGS[status]}</div></div>'
            for status, count in all_counts(report)
        )
        + "</div>"
    )


def shares(report: Report) -> str:
    """Return the same as a line in which each outcome is as long as it is frequent."""
    parts = "".join(
        f'<i class="oa-{status}" style="flex:{count}" title="{count:,} {WORDS[status]}"></i>'
        for status, count in all_counts(report)
    )
    return f'<div class="oa-share" role="img" aria-label="{counts_in_words(report)}">{parts}</div>'


# --- what to do ---------------------------------------------------------------------------------


def missing_card(report: Report) -> str:
    """Return what to do about metrics that were not reached."""
    log = "the log of the function that trains" if report.execution else "the messages of the run"
    return card(
        "missing",
        report.missing,
        "Their batches did not end",
        f"See {log} for why. The next run trains them with all others; to continue this one:",
        resume_command(report.run, report.bucket),
        "",
    )


def group_card(group: Group, bucket: str | None) -> str:
    """Return a reason, what to do, and the metrics that it holds for."""
    return card(
        group.status,
        len(group.outcomes),
        group.reason.title,
        group.reason.to_do,
        command_for(group.outcomes[0], bucket),
        outcomes_table(group.outcomes),
    )


def card(status: str, count: int, title: str, to_do: str, command: str, more: str) -> str:
    """Return a reason of so many metrics."""
    code = f"<code>{escape(command)}</code>" if command else ""
    return (
        f'<article class="oa-card oa-of-{status}"><div class="oa-head"><h3>{escape(title)}</h3>'
        f'<span class="oa-severity">{count:,} {WORDS[status]}</span></div>'
        f'<p class="oa-what">{escape(to_do)}</p>{code}{more}</article>'
    )


def outcomes_table(outcomes: Sequence[Outcome]) -> str:
    """Return metrics with reason and figures: as many as fit, and how many more there are."""
    has_figures = any(each.new and each.live for each in outcomes)
    names = FIGURES if has_figures else ""
    rows = "".join(outcome_row(each, has_figures=has_figures) for each in outcomes[:MAX_ROWS])
    more = (
        f'<p class="oa-more">and {len(outcomes) - MAX_ROWS:,} more, in the run\'s report.json</p>'
        if len(outcomes) > MAX_ROWS
        else ""
    )
    is_open = " open" if len(outcomes) <= MAX_OPEN else ""
    head = f"<tr><th>metric, and why</th>{names}</tr>"
    return (
        f'<details class="oa-more"{is_open}><summary>{counted_metrics(len(outcomes))}</summary>'
        f"<table>{head}{rows}</table>{more}</details>"
    )


def outcome_row(outcome: Outcome, *, has_figures: bool) -> str:
    """Return a row of the table."""
    figures = ""
    if has_figures:
        figures = "".join(
            f'<td class="oa-numbers oa-wide">{each}</td>'
            for each in figures_of(outcome.new, outcome.live)
        )
    metric, reason = (escape(text[:MAX_TEXT]) for text in (outcome.metric, outcome.reason))
    return (
        f'<tr><td>{metric}<div class="oa-metric oa-muted">{escape(outcome.model)}: {reason}</div>'
        f"</td>{figures}</tr>"
    )


def figures_of(new: Figures | None, live: Figures | None) -> tuple[str, str]:
    """Return faults found and alerts a week, of the live model and the new one."""
    if new is None or live is None:
        return "", ""
    found = " → ".join(
        "?" if each.faults_found is None else share(each.faults_found) for each in (live, new)
    )
    return found, f"{live.alerts_a_week:.1f} → {new.alerts_a_week:.1f}"


def counted_metrics(count: int) -> str:
    """Return so many metrics, in words."""
    return f"{count:,} metric{'' if count == 1 else 's'}"


# --- new and live models ------------------------------------------------------------------------

Pair = tuple[float, float, bool]
"""Share of the faults that the live and the new model find, and whether that was refused."""

SIZE, LEFT, BOTTOM, MARGIN = 300, 46, 40, 12
"""Pixels of the square in which pairs are drawn, and around it."""

MIN_RADIUS, MAX_RADIUS = 3.5, 8
"""Of a dot where all are single metrics, and of the one with the most."""

STEPS = 50
"""Pairs are counted on so many steps a side: the page of a large fleet is as small."""


def comparison(outcomes: Iterable[Outcome]) -> str:
    """Return a picture of new models against the live ones; nothing if there are none."""
    compared = [(each.live, each.new, each.status) for each in outcomes if each.live and each.new]
    pairs = [
        (live.faults_found, new.faults_found, status == "refused")
        for live, new, status in compared
        if live.faults_found is not None and new.faults_found is not None
    ]
    if not pairs:
        return ""
    before, after = (median(pair[side] for pair in pairs) for side in (0, 1))
    alerts_before = median(live.alerts_a_week for live, _, _ in compared)
    alerts_after = median(new.alerts_a_week for _, new, _ in compared)
    text = (
        f"<p>Of the faults that were injected into the last days of a metric, the new model finds "
        f"<b>{share(after)}</b> in the median of {counted_metrics(len(pairs))}, and the live one "
        f"found {share(before)}; alerts a week: {alerts_after:.1f}, and {alerts_before:.1f}.<br>"
        f"A dot is a metric, a larger one several. Above the dashed line the new model finds more. "
        f"In the shade it finds so much less that it is refused.<br>"
        f'<span class="oa-key"><i class="oa-published"></i>no worse</span> &nbsp; '
        f'<span class="oa-key"><i class="oa-refused"></i>refused</span></p>'
    )
    return f'<h2>New and live models</h2><div class="oa-models">{scatter(pairs)}{text}</div>'


def scatter(pairs: Sequence[Pair]) -> str:
    """Return pairs as dots in a square, of which the sides are shares of faults found."""
    low = min(int(5 * min(min(live, new) for live, new, _ in pairs)), 4) / 5
    cells = Counter(
        (round(STEPS * (live - low) / (1 - low)), round(STEPS * (new - low) / (1 - low)), refused)
        for live, new, refused in pairs
    )
    parts = [*axes(low), shade(low)]
    scale = min(MAX_RADIUS / max(cells.values()) ** 0.5, MIN_RADIUS)
    for (x, y, refused), count in sorted(cells.items(), key=lambda cell: -cell[1]):
        live, new = (share(low + (1 - low) * cell / STEPS) for cell in (x, y))
        parts.append(
            f'<circle class="oa-dot{"-refused" if refused else ""}" cx="{across(x / STEPS)}" '
            f'cy="{down(y / STEPS)}" r="{max(scale * count**0.5, 2):.1f}">'
            f"<title>{counted_metrics(count)}: live {live}, new {new}</title></circle>"
        )
    width, height = LEFT + SIZE + MARGIN, MARGIN + SIZE + BOTTOM
    return (
        f'<svg class="oa-chart" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img"><title>Faults found by new and live models</title>{"".join(parts)}</svg>'
    )


def axes(low: float) -> Iterator[str]:
    """Yield rules, labels and titles of both sides, and the line of what is equal."""
    for step in range(round(10 * low), 11, 2 if low < 0.6 else 1):
        at = (step / 10 - low) / (1 - low)
        yield (
            f'<path class="oa-rule" d="M{LEFT} {down(at)}h{SIZE}M{across(at)} {MARGIN}v{SIZE}"/>'
            f'<text x="{LEFT - 6}" y="{down(at) + 4}" text-anchor="end">{10 * step} %</text>'
            f'<text x="{across(at)}" y="{MARGIN + SIZE + 16}" text-anchor="middle">{10 * step}'
            "</text>"
        )
    yield f'<path class="oa-equal" d="M{LEFT} {MARGIN + SIZE}L{LEFT + SIZE} {MARGIN}"/>'
    yield (
        f'<text x="{LEFT + SIZE / 2}" y="{MARGIN + SIZE + 34}" text-anchor="middle">'
        "live model finds</text>"
        f'<text transform="translate(10 {MARGIN + SIZE / 2})rotate(-90)" text-anchor="middle">'
        "new model finds</text>"
    )


def shade(low: float) -> str:
    """Return the area of what is refused: so many faults fewer."""
    fewer = FEWER_FAULTS / (1 - low)
    if fewer >= 1:
        return ""
    return (
        f'<path class="oa-margin" d="M{across(fewer)} {down(0)}L{across(1)} {down(1 - fewer)}'
        f'V{down(0)}z"/>'
    )


def across(part: float) -> float:
    """Return the column of a place between the left side, 0, and the right one, 1."""
    return round(LEFT + SIZE * part, 1)


def down(part: float) -> float:
    """Return the line of a place between the lower side, 0, and the upper one, 1."""
    return round(MARGIN + SIZE * (1 - part), 1)


# --- entries and cost ---------------------------------------------------------------------------


def entries_table(report: Report) -> str:
    """Return how many metrics of each entry have which outcome."""
    statuses = [status for status, _ in all_counts(report)]
    largest = sorted(report.entries.items(), key=lambda each: -sum(each[1].values()))
    rows = "".join(
        f"<tr><td>{escape(entry)}</td>"
        + "".join(f'<td class="oa-number">{counts[status]:,}</td>' for status in statuses)
        + "</tr>"
        for entry, counts in largest[:MAX_ENTRIES]
    )
    head = "".join(f'<th class="oa-number">{WORDS[status]}</th>' for status in statuses)
    more = (
        f'<p class="oa-more">and {len(largest) - MAX_ENTRIES:,} more entries, in the run\'s '
        "report.json</p>"
        if len(largest) > MAX_ENTRIES
        else ""
    )
    return f"<h2>Entries</h2><table><tr><th>entry</th>{head}</tr>{rows}</table>{more}"


def cost_line(report: Report) -> str:
    """Return what the run cost, by formula, and when it ended."""
    cost = report.cost
    listed = listed_parts({name: part for name, part in cost.parts.items() if part >= CENT})
    return (
        f"<h2>Cost</h2><p>By formula, in us-east-1: {dollars(cost.total)}"
        f"{f' ({listed})' if listed else ''}.</p>"
        f'<p class="oa-more">From {utc(report.started)} to {utc(report.finished)}. All outcomes: '
        f"report.json beside this page.</p>"
    )

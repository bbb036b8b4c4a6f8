"""What pages of HTML have in common: one style, in light and dark, on wide and narrow screens."""

from __future__ import annotations

from datetime import datetime, tzinfo
from html import escape

from ops_anomaly import charts
from ops_anomaly.charts import Theme
from ops_anomaly.detection.formatting import number

STRONG = 0.8
"""Severity from which it is written on a filled label."""

RULES = """
.oa{font:14px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--oa-ink);
background:var(--oa-surface);text-align:left;overflow-wrap:anywhere;
container:oa/inline-size}
.oa h1,.oa h2,.oa h3,.oa p,.oa ul{margin:0;padding:0;color:inherit;line-height:1.3}
.oa h1{font-size:22px}
.oa h2{font-size:13px;font-weight:600;color:var(--oa-muted);margin:28px 0 10px}
.oa h3{font-size:16px;font-weight:600}
.oa a.oa-link{color:var(--oa-reading)}
.oa .oa-muted{color:var(--oa-muted);font-weight:400}
.oa-top{display:flex;flex-wrap:wrap;gap:4px 24px;justify-content:space-between;
align-items:baseline}
.oa-legend{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:12px;color:var(--oa-muted);
margin:6px 0 16px}
.oa-legend span{white-space:nowrap}
.oa-legend i{display:inline-block;width:16px;height:0;margin-right:6px;vertical-align:middle;
border-top:2px solid var(--oa-reading)}
.oa-legend .oa-is-expected{border-top:2px dashed var(--oa-expected)}
.oa-legend .oa-is-band{height:9px;border:0;background:var(--oa-band)}
.oa-legend .oa-is-shade{height:9px;border:0;background:var(--oa-alert);opacity:.16}
.oa-legend .oa-is-unusual{width:6px;height:6px;border:0;border-radius:3px;
background:var(--oa-alert)}
.oa-card{border:1px solid var(--oa-rule);border-left:4px solid var(--oa-alert);border-radius:8px;
padding:14px 18px 16px;margin:0 0 14px}
.oa-head{display:flex;gap:16px;justify-content:space-between;align-items:flex-start}
.oa .oa-what{margin-top:2px}
.oa .oa-why{margin:2px 0 10px;color:var(--oa-muted)}
.oa-why::first-letter{text-transform:uppercase}
.oa-aside{display:flex;flex:none;gap:16px;align-items:center}
.oa-severity{flex:none;font-size:12px;line-height:20px;padding:0 8px;border-radius:10px;
border:1px solid var(--oa-alert);color:var(--oa-alert);white-space:nowrap}
.oa-strong{background:var(--oa-alert);color:var(--oa-surface);font-weight:600}
.oa-over{border-color:var(--oa-rule);background:none;color:var(--oa-muted)}
.oa .oa-figure .oa-chart{width:100%}
.oa table{border-collapse:collapse;width:100%;margin:10px 0 0;font-size:13px;color:inherit;
background:none}
.oa th,.oa td{padding:4px 12px 4px 0;border:0;border-top:1px solid var(--oa-rule);text-align:left;
vertical-align:middle;font-weight:400;color:inherit;background:none}
.oa th{font-size:12px;color:var(--oa-muted);border-top:0}
.oa .oa-number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.oa td:last-child,.oa th:last-child{padding-right:0}
.oa-facts{margin-top:12px;font-size:13px}
.oa-facts>div{display:flex;gap:12px;padding:2px 0}
.oa-facts>div>span:first-child{flex:0 0 72px;color:var(--oa-muted)}
.oa-tag{display:inline-block;padding:0 7px;margin:0 4px 2px 0;border:1px solid var(--oa-rule);
border-radius:4px;font-size:12px}
.oa-empty{border:1px dashed var(--oa-expected);border-radius:8px;padding:22px;text-align:center}
.oa-empty p{max-width:60ch;margin:6px auto 0;color:var(--oa-muted)}
.oa .oa-more{font-size:13px;color:var(--oa-muted);margin-top:8px}
.oa-more summary{cursor:pointer}
@container oa (max-width:600px){.oa-wide,.oa-aside .oa-chart{display:none}
.oa-card{padding-left:14px;padding-right:14px}}
"""

DOCUMENT = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh}<title>{title}</title>
<style>{styles}
body{{margin:0}}
.oa{{min-height:100vh;box-sizing:border-box;padding:24px max(16px,calc(50% - 480px)) 48px}}
</style>
</head>
<body class="oa">
<main>
{content}
</main>
</body>
</html>
"""

LEGEND = """
<div class="oa-legend"><span><i></i>reading</span>
<span><i class="oa-is-expected"></i>expected</span>
<span><i class="oa-is-band"></i>normal range</span>
<span><i class="oa-is-unusual"></i>unusual</span>
<span><i class="oa-is-shade"></i>anomaly</span></div>
"""
"""What the lines of a chart mean."""


def stylesheet(theme: Theme | None = None) -> str:
    """Return the styles of what is inside an element of the class `oa`, and of charts.

    Parameters
    ----------
    theme
        None follows the reader's system.
    """
    return charts.stylesheet(theme) + RULES


def document(
    title: str, content: str, *, styles: str = "", refresh_seconds: int | None = None
) -> str:
    """Return a page of HTML.

    Parameters
    ----------
    content
        HTML.
    styles
        In addition to those of `stylesheet`.
    refresh_seconds
        After how long a browser loads it again; never, if left out.
    """
    refresh = (
        f'<meta http-equiv="refresh" content="{refresh_seconds}">\n' if refresh_seconds else ""
    )
    return DOCUMENT.format(
        title=escape(title), content=content, styles=stylesheet() + styles, refresh=refresh
    )


def severity_label(severity: float, *, is_over: bool = False) -> str:
    """Return a severity as a label; that of what is over stands back."""
    kind = " oa-over" if is_over else " oa-strong" if severity >= STRONG else ""
    return (
        f'<span class="oa-severity{kind}"><span class="oa-wide">severity </span>'
        f"{severity:.2f}</span>"
    )


def reading(
    value: float | None, expected: float | None, lower: float | None, upper: float | None
) -> str:
    """Return a reading and what was expected of it, as far as that is known; None is no data.

    Examples
    --------
    >>> reading(95.2, 22.4, 18, 27)
    '<b>95.2</b>, expected 22.4 (normal range 18 to 27)'
    >>> reading(None, 118, None, None)
    '<b>No data</b>, expected 118'
    """
    text = f"<b>{'No data' if value is None else number(value)}</b>"
    if expected is not None:
        text += f", expected {number(expected)}"
    if lower is not None and upper is not None:
        text += f" (normal range {number(lower)} to {number(upper)})"
    return text


def time_of_day(time: int, zone: tzinfo) -> str:
    """Return a time of these days as people write it.

    Examples
    --------
    >>> from datetime import UTC
    >>> time_of_day(1_795_608_000_000, UTC)
    'Wed 25 Nov, 12:00'
    """
    moment = datetime.fromtimestamp(time / 1000, zone)
    return f"{moment:%a} {moment.day} {moment:%b}, {moment:%H:%M}"

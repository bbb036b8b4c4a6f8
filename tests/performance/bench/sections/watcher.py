"""What a look of the watcher at a fleet takes of the processor."""

from __future__ import annotations

from tests.performance.bench.figures import SECONDS, Figure, Growth, Row
from tests.performance.bench.process import ROOT, Entry, started
from tests.performance.bench.setting import OURS, Setting
from tests.performance.fleet_speed import METRICS


def watcher(setting: Setting) -> list[Row | Growth]:
    """Measure a look, as `fleet_speed.py` does: no AWS client or network is in it."""
    readings = setting.pick(4_032, 288)
    entry = Entry(
        OURS,
        "fleet:look",
        {"readings": readings},
        path=[ROOT / "functions"],
        environment={"POWERTOOLS_METRICS_DISABLED": "true", "POWERTOOLS_LOG_LEVEL": "CRITICAL"},
    )
    setting.tell(f"the watcher looks at {METRICS} metrics")
    with started(entry, setting.machine.pin) as worker:
        worker.make()
        first, rest, cold = worker.answer()
    how = f"processor time, without AWS's clients; {readings:,} readings each, judged by themselves"
    return [
        Row(name, f"Watcher, {METRICS} metrics, {what}", how, SECONDS, Figure.of(OURS, rounds))
        for name, what, rounds in (
            ("watcher-look", "a look", rest),
            ("watcher-first", "the first look", [first]),
            ("watcher-cold", "a look of a new instance", [cold]),
        )
    ]

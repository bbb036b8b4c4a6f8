"""What `ops-anomaly models` and `publish` print: in 80 columns, and commands to copy."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from commands import models
from commands.models import runs_table, show_model, show_undo
from ops_anomaly.detection.artifact import Manifest
from tests.support.command import command
from tests.support.retraining_reports import RUN, night
from training.candidates import KINDS
from training.console import print_table
from training.retraining.documents import RunPlan, Summary
from training.retraining.runs import KnownRun
from training.versions import History, Version, describe, describe_training

NOW = datetime.now(UTC)
DATA = {"readings": 129_600, "step_ms": 60_000.0, "first": "2026-01-01T00:00:00Z"}


def version(kind: str, number: int = 0, ended: datetime = NOW, **figures: object) -> Version:
    data = DATA | {"last": ended.isoformat()}
    manifest = Manifest("web", kind, 0.5, {}, training_data=data, figures=figures)
    created = (NOW - timedelta(days=400)).isoformat()
    identity = f"{number:08}-0000-0000-0000-000000000000"
    return Version(identity, "etag", NOW - timedelta(days=710), {"created": created}, manifest)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    """A terminal of 80 columns."""
    text = StringIO()
    console = Console(file=text, width=80, force_terminal=True, color_system=None)
    monkeypatch.setattr(models, "console", console)
    return text


def test_the_longest_table_fits_80_columns(terminal: StringIO) -> None:
    versions = [version(kind, number, f1=1.0) for number, kind in enumerate(KINDS)]
    show_model(History("a-name-of-63-characters-" + 39 * "x", versions[0], versions, 0), "")
    lines = terminal.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert all(any(each.version_id in line for line in lines) for each in versions)
    assert "…" not in terminal.getvalue()


def test_a_model_of_old_data_is_named(terminal: StringIO) -> None:
    live = version("contextual", ended=NOW - timedelta(days=250))
    show_model(History("web", live, [live], 12), "ops-anomaly models web --bucket my-models")
    assert "its data ended 8 months ago: train it again" in terminal.getvalue()
    assert "and 12 older: ops-anomaly models web --bucket my-models" in terminal.getvalue()
    fresh = version("contextual")
    show_model(History("web", fresh, [fresh], 0), "")
    assert terminal.getvalue().count("its data ended") == 1


def test_a_version_is_described_by_what_is_known() -> None:
    known = version("contextual", f1=0.67)
    assert describe(known) == "contextual detector, trained 13 months ago, F1 0.67"
    assert describe_training(known).startswith("129,600 readings of 1 min, 2026-01-01 to 20")
    unlabelled = version("contextual", f1=None, backtest={"share_found": 0.61})
    assert describe(unlabelled).endswith("faults found: 61 %")
    bare = Version("id", "etag", NOW, {}, Manifest("web", "contextual", 0.5, {}))
    assert describe(bare) == "contextual detector, trained at an unknown time, F1 -"
    assert describe_training(bare) == "unknown readings"
    assert describe(replace(bare, manifest=None)) == "unreadable artifact"


def test_a_command_to_copy_is_one_line_and_quoted(terminal: StringIO) -> None:
    former, live = version("contextual", 1), version("contextual", 2)
    show_undo("web", former, live, "my-models", "http://127.0.0.1:5000/?a=b&c=d")
    *_, undo = terminal.getvalue().splitlines()
    assert shlex.split(undo) == [
        *("ops-anomaly", "rollback", "web", "--to", former.version_id),
        *("--expect", live.version_id, "--bucket", "my-models"),
        *("--endpoint-url", "http://127.0.0.1:5000/?a=b&c=d"),
    ]


def test_a_model_of_another_step_than_the_former_one_is_named(terminal: StringIO) -> None:
    hourly = version("contextual", 2)
    hourly.manifest.training_data["step_ms"] = 3_600_000.0
    show_undo("web", version("contextual", 1), hourly, "my-models", None)
    assert "trained on readings of 1 h, the former one of 1 min:" in terminal.getvalue()


def test_the_widest_table_of_runs_fits_80_columns_and_no_name_is_folded(
    terminal: StringIO,
) -> None:
    summary = msgspec.convert(night(), Summary, from_attributes=True)
    counts = {"published": 9_885, "trained": 0, "kept": 1_041, "refused": 1_067, "failed": 107}
    hours = summary.started + 41_400_000
    widest = msgspec.structs.replace(summary, counts=counts, missing=1_234, finished=hours)
    plan = RunPlan(run=RUN, until=summary.started)
    found = [KnownRun(RUN, plan, widest), KnownRun(RUN, plan), KnownRun(RUN, damage="plan.json")]
    console = Console(file=terminal, width=80, force_terminal=True, color_system=None)
    print_table(runs_table(found), console)
    lines = terminal.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert sum(line.startswith(f"{RUN} ") for line in lines) == 3
    assert "…" not in terminal.getvalue()


def test_a_run_of_a_model_that_watch_files_cannot_name_is_not_published(tmp_path: Path) -> None:
    record = {
        "name": "per-metric",
        "run": "2026-11-27T020000Z-0123abcd",
        "created": "2026-11-27T02:00:00+00:00",
        "winner": "contextual",
        "artifacts": {},
    }
    (tmp_path / "metrics.json").write_text(json.dumps(record))
    done = command("publish", str(tmp_path), "--bucket", "my-models")
    assert done.returncode == 1
    assert "in a watch file it means a model a metric" in done.stderr

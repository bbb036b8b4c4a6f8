"""Warm latency: one event after another, in processes that have answered before."""

from __future__ import annotations

from benchmarks.speed.bucket import (
    CONTEXTUAL_FOREST,
    ESTIMATOR,
    NAMED_ESTIMATOR,
    VALUE_FOREST,
)
from benchmarks.speed.contest import medians
from benchmarks.speed.figures import SECONDS, Figure, Goal, Growth, Row
from benchmarks.speed.process import Entry
from benchmarks.speed.setting import OURS, PREDICT_EVENT, Setting

CONTEXTUAL = f"{OURS}, contextual forest"


def entries(setting: Setting) -> list[Entry]:
    """Return the services that answer a /predict."""
    installed, environment = setting.installed(), setting.bucket.environment
    architecture, event = installed.architecture, {"event": PREDICT_EVENT}

    def function(who: str, module: str, package: str | None, **more: str) -> Entry:
        path = (
            installed.peer(package, architecture, has_bytecode=True)
            if package
            else installed.package(architecture, has_bytecode=True)
        )
        return Entry(
            who,
            "handlers:proxy",
            {"module": module, **event},
            installed.python,
            [path],
            {**environment, **more},
        )

    model_file = setting.folder / "forest.joblib"
    model_file.write_bytes(setting.bucket.models.estimators[NAMED_ESTIMATOR])
    without_pandas = function(
        "tutorial without pandas", "app", "tutorial_without_pandas", MODEL_KEY=ESTIMATOR
    )
    return [
        function(OURS, "ops_anomaly.api.handler", None, DEFAULT_MODEL=VALUE_FOREST),
        function("tutorial", "app", "tutorial", MODEL_KEY=NAMED_ESTIMATOR),
        *setting.pick((without_pandas,), ()),
        Entry(
            "FastAPI (ASGI call)",
            "handlers:asgi",
            {
                "module": "benchmarks.speed.peers.fastapi_service.app",
                "path": "/predict",
                "body": PREDICT_EVENT["body"],
            },
            installed.python_of_peers(),
            environment={"MODEL_FILE": str(model_file)},
        ),
        function(CONTEXTUAL, "ops_anomaly.api.handler", None, DEFAULT_MODEL=CONTEXTUAL_FOREST),
    ]


def warm(setting: Setting) -> list[Row | Growth]:
    """Measure a warm /predict."""
    times = setting.contest(rounds=9, budget=0.6).hold(entries(setting), setting.tell)
    how = "in process, REST proxy event in, answer out; FastAPI: ASGI messages in and out"
    middle = {figure.who: figure for figure in medians(times)}
    slow = {who: Figure.of(who, map(percentile_99, rounds)) for who, rounds in times.items()}
    peers = [who for who in times if who not in (OURS, CONTEXTUAL)]
    rows: list[Row | Growth] = []
    for name, what, figures, goal in (
        ("warm-p50", "Warm /predict, median", middle, Goal(25, 50)),
        ("warm-p99", "Warm /predict, 99th percentile", slow, None),
    ):
        others = tuple(figures[who] for who in peers)
        for suffix, addition, who, asked in (
            ("", "", OURS, goal),
            ("-contextual", ", contextual forest", CONTEXTUAL, None),
        ):
            ours = Figure(OURS, figures[who].rounds)
            rows.append(Row(name + suffix, what + addition, how, SECONDS, ours, others, asked))
    return rows


def percentile_99(times: list[float]) -> float:
    """Return the time that one call in a hundred exceeds."""
    return sorted(times)[int(0.99 * len(times))]

"""Serving: cold starts, warm latency, package sizes, and how they grow."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.speed import DisagreementError, MissingError
from benchmarks.speed.harness import (
    ALIKE,
    OURS,
    PREDICT_EVENT,
    Entry,
    Setting,
    curves,
    medians,
    started,
)
from benchmarks.speed.installation import (
    CONTEXTUAL,
    ESTIMATOR,
    NAMED_ESTIMATOR,
    VALUE_FOREST,
    package_size,
)
from benchmarks.speed.report import BYTES, SECONDS, Curve, Figure, Goal, Growth, Row, quantity
from benchmarks.speed.scoring import GAUSSIAN, HALF_SPACE_TREES, stream_entry
from tests.support.lambda_runtime import LambdaRuntime

OURS_CONTEXTUAL = f"{OURS}, contextual detector"
TUTORIAL, WITHOUT_PANDAS, EMPTY = "tutorial", "tutorial without pandas", "empty function"
PACKAGED = {TUTORIAL: "tutorial", WITHOUT_PANDAS: "tutorial-without-pandas"}
TIMEOUT_SECONDS = 120
MANY = "ec2-cpu-{:04}"

COLD_HOW = (
    "from the start of a process to its first response to a REST proxy event, under awslambdaric, "
    "the model from a bucket over HTTP"
)
UNZIPPED_HOW = "bytes of all files, as shipped: this project with bytecode, the others without"
ZIPPED_HOW = "the same, deflated"


def cold_start(setting: Setting) -> Sequence[Row | Growth]:
    """Measure cold starts with valid bytecode and without any."""
    if setting.machine.core is None:
        raise MissingError("cold starts are measured on Linux, by taskset and /proc")
    valid = starts(setting, has_bytecode=True, rounds=setting.pick(9, 2))
    none = starts(setting, has_bytecode=False, rounds=setting.pick(3, 1))
    others = [who for who in valid if who not in (OURS, OURS_CONTEXTUAL)]
    rows: list[Row] = []
    for state, how, measured in (
        ("with bytecode", f"{COLD_HOW}; all packages compiled before", valid),
        ("without bytecode", f"{COLD_HOW}; no package compiled, none written", none),
    ):
        name = f"cold-start-{state.replace(' ', '-')}"
        peers = tuple(seconds(measured, who) for who in others)
        rows += [
            Row(
                *(name, f"Cold start, {state}", how, SECONDS),
                *(seconds(measured, OURS), peers, Goal(7, 12)),
            ),
            Row(
                *(f"{name}-contextual", f"Cold start, {state}, contextual detector", how, SECONDS),
                *(seconds(measured, OURS_CONTEXTUAL, OURS), peers),
            ),
        ]
    shipped = tuple(seconds(none, who) for who in others)
    how = f"{COLD_HOW}; this project compiled, the others as `sam build` ships them by default"
    rows.insert(
        4,
        Row(
            *("cold-start-as-shipped", "Cold start, each as it is shipped", how, SECONDS),
            *(seconds(valid, OURS), shipped, Goal(20, 35)),
        ),
    )
    how = "peak of the process's memory at its first response"
    peers = tuple(peaks(valid, who) for who in others)
    for name, what, who, goal in (
        ("memory", "Memory at the first response", OURS, Goal(3)),
        (
            "memory-contextual",
            "Memory at the first response, contextual detector",
            OURS_CONTEXTUAL,
            None,
        ),
    ):
        rows.append(Row(name, what, how, BYTES, peaks(valid, who), peers, goal))
    return rows


def seconds(measured: Mapping[str, Sequence[Start]], who: str, name: str = "") -> Figure:
    """Return one contestant's seconds."""
    return Figure.of(name or who, (each.seconds for each in measured[who]))


def peaks(measured: Mapping[str, Sequence[Start]], who: str) -> Figure:
    """Return one contestant's peaks of memory."""
    return Figure.of(who, (float(each.peak) for each in measured[who]))


def starts(setting: Setting, *, has_bytecode: bool, rounds: int) -> dict[str, list[Start]]:
    """Start all functions in turn, so many times; a first time, to read all files, is discarded."""
    state = "with bytecode" if has_bytecode else "without bytecode"
    setting.progress(f"cold start {state}: packages")
    contestants = cold_functions(setting, has_bytecode=has_bytecode)
    more = {} if has_bytecode else {"PYTHONDONTWRITEBYTECODE": "1"}
    measured: dict[str, list[Start]] = {each.who: [] for each in contestants}
    for number in range(-1 if has_bytecode else 0, rounds):
        for each in contestants:
            setting.progress(
                f"cold start {state}: round {max(number, 0) + 1} of {rounds}, {each.who}"
            )
            taken = start_once(setting, each, more)
            if number >= 0:
                measured[each.who].append(taken)
    return measured


@dataclass(frozen=True)
class Function:
    """A function as it is deployed."""

    who: str
    package: Path
    handler: str = "app.lambda_handler"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """One cold start: seconds to the first response, bytes held at most until then."""

    seconds: float
    peak: int


class MeasuredRuntime(LambdaRuntime):
    """The runtime, with the memory of its process."""

    @property
    def peak(self) -> int:
        """Bytes that the process held at most."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024


def cold_functions(setting: Setting, *, has_bytecode: bool) -> list[Function]:
    """Return the contestants: the forest of one value by all, this project's best model beside."""
    installed = setting.installed()

    def peer(name: str) -> Path:
        return installed.peer(name, installed.architecture, has_bytecode=has_bytecode)

    ours = installed.package(installed.architecture, has_bytecode=has_bytecode)
    handler = "ops_anomaly.api.handler.lambda_handler"
    lean = Function(
        WITHOUT_PANDAS, peer("tutorial-without-pandas"), environment={"MODEL_KEY": ESTIMATOR}
    )
    return [
        Function(OURS, ours, handler, {"DEFAULT_MODEL": VALUE_FOREST}),
        Function(TUTORIAL, peer("tutorial"), environment={"MODEL_KEY": NAMED_ESTIMATOR}),
        *setting.pick((lean,), ()),
        Function(OURS_CONTEXTUAL, ours, handler, {"DEFAULT_MODEL": CONTEXTUAL}),
        Function(EMPTY, peer("empty")),
    ]


def start_once(setting: Setting, function: Function, more: Mapping[str, str]) -> Start:
    """Start a function once, in a process of its own."""
    installed = setting.installed()
    command = [*setting.machine.pin, str(installed.python), "-m", "awslambdaric", function.handler]
    environment = {
        **setting.bucket.environment,
        **ALIKE,
        "PATH": os.defpath,
        "AWS_LAMBDA_FUNCTION_NAME": "api",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "PYTHONPATH": os.pathsep.join(map(str, (function.package, installed.runtime()))),
        **function.environment,
        **more,
    }
    silent = ["sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh", *command]
    began = time.perf_counter()
    with MeasuredRuntime(silent, setting.folder, environment, TIMEOUT_SECONDS) as runtime:
        response = runtime.invoke(PREDICT_EVENT)
        seconds = time.perf_counter() - began
        peak = runtime.peak
    if not json.loads(response["body"]).get("is_anomaly"):
        raise DisagreementError(f"{function.who} returned {response}")
    return Start(seconds, peak)


def warm(setting: Setting) -> Sequence[Row | Growth]:
    """Measure a warm /predict."""
    times = setting.comparison(rounds=9, budget=0.6).run(warm_entries(setting), setting.progress)
    how = "in process, REST proxy event in, response out; FastAPI: ASGI messages in and out"
    middle = {figure.who: figure for figure in medians(times)}
    slow = {who: Figure.of(who, map(percentile_99, rounds)) for who, rounds in times.items()}
    peers = [who for who in times if who not in (OURS, OURS_CONTEXTUAL)]
    rows: list[Row] = []
    for name, what, figures, goal in (
        ("warm-p50", "Warm /predict, median", middle, Goal(25, 50)),
        ("warm-p99", "Warm /predict, 99th percentile", slow, None),
    ):
        others = tuple(figures[who] for who in peers)
        for suffix, addition, who, aimed_at in (
            ("", "", OURS, goal),
            ("-contextual", ", contextual detector", OURS_CONTEXTUAL, None),
        ):
            ours = Figure(OURS, figures[who].rounds)
            rows.append(Row(name + suffix, what + addition, how, SECONDS, ours, others, aimed_at))
    return rows


def warm_entries(setting: Setting) -> list[Entry]:
    """Return the services that respond to a /predict."""
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
            "handler",
            {"module": module, **event},
            installed.python,
            [path],
            {**environment, **more},
        )

    model_file = setting.folder / "forest.joblib"
    model_file.write_bytes(setting.bucket.models.estimators[NAMED_ESTIMATOR])
    without_pandas = function(WITHOUT_PANDAS, "app", "tutorial-without-pandas", MODEL_KEY=ESTIMATOR)
    return [
        function(OURS, "ops_anomaly.api.handler", None, DEFAULT_MODEL=VALUE_FOREST),
        function(TUTORIAL, "app", "tutorial", MODEL_KEY=NAMED_ESTIMATOR),
        *setting.pick((without_pandas,), ()),
        Entry(
            "FastAPI (ASGI call)",
            "fastapi_service",
            {"body": PREDICT_EVENT["body"]},
            installed.python_of_peers(),
            environment={"MODEL_FILE": str(model_file)},
        ),
        function(OURS_CONTEXTUAL, "ops_anomaly.api.handler", None, DEFAULT_MODEL=CONTEXTUAL),
    ]


def percentile_99(times: list[float]) -> float:
    """Return the time that one call in a hundred exceeds."""
    return sorted(times)[int(0.99 * len(times))]


def package_sizes(setting: Setting) -> Sequence[Row | Growth]:
    """Measure the packages for both processors; arm64 is what is deployed by default."""
    installed = setting.installed()
    rows: list[Row] = []
    for architecture in ("arm64", "x86_64") if not setting.quick else (installed.architecture,):
        setting.progress(f"package for {architecture}")
        ours = package_size(installed.package(architecture, has_bytecode=True))
        peers = {
            who: package_size(installed.peer(name, architecture, has_bytecode=False))
            for who, name in PACKAGED.items()
        }
        for way, how in (("unzipped", UNZIPPED_HOW), ("zipped", ZIPPED_HOW)):
            rows.append(
                Row(
                    f"package-{architecture}-{way}",
                    f"Package for {architecture}, {way}",
                    how,
                    BYTES,
                    Figure.of(OURS, [getattr(ours, way)]),
                    tuple(Figure.of(who, [getattr(of, way)]) for who, of in peers.items()),
                    Goal(5, 8),
                )
            )
    return rows


def readings(setting: Setting) -> Sequence[Row | Growth]:
    """Measure a /detect over the length of its series."""
    sizes = setting.pick((100, 300, 1_000, 3_000, 10_000), (100, 1_000, 10_000))
    entries = [
        package_entry(setting, "posted_series"),
        stream_entry(setting, HALF_SPACE_TREES, "half_space_trees"),
        stream_entry(setting, GAUSSIAN, "windowed_gaussian"),
    ]
    comparison = setting.comparison(rounds=5, budget=0.3, tolerance=None)
    measured = comparison.over_sizes(
        entries, [{"readings": size} for size in sizes], setting.progress
    )
    return [
        Growth(
            "growth-readings",
            "/detect over the readings of its series",
            "a proxy event in, response out, without a model; river: its loop alone, no request",
            *(SECONDS, "readings", sizes),
            curves(measured),
        )
    ]


def models(setting: Setting) -> Sequence[Row | Growth]:
    """Measure a warm /predict over the number of models in use, one at random each time."""
    sizes = setting.pick((1, 10, 100, 200, 500, 1_000), (1, 100, 250))
    artifact = setting.bucket.models.artifacts[CONTEXTUAL]
    setting.progress(f"models: publishing {sizes[-1]:,}")
    setting.bucket.publish(map(MANY.format, range(sizes[-1])), artifact)
    costs, memory = [], []
    for size in sizes:
        setting.progress(f"models: {size:,} in one function")
        names = [MANY.format(number) for number in range(size)]
        entry_of_all = package_entry(setting, "many_models", models=names)
        with started(entry_of_all, setting.machine.pin) as one:
            one.make()
            one.output()
            budget = setting.pick(1.0, 0.4)
            rounds = [statistics.mean(one.seconds(budget)) for _ in range(setting.pick(5, 3))]
            costs.append(Figure.of(OURS, rounds))
            memory.append(Figure.of(OURS, [float(one.memory())]))
    how = (
        "one of so many contextual detectors at random, "
        f"{quantity(len(artifact), BYTES)} each; mean"
    )
    note = (
        f"64 MiB of artifacts are kept, which is {64 * 2**20 // len(artifact)} such models; what "
        "is not kept is read from the bucket again"
    )
    return [
        Growth(
            *(name, what, how, unit, "models", sizes),
            (Curve(OURS, tuple(figures)),),
            note,
        )
        for name, what, unit, figures in (
            ("growth-models", "Warm /predict over models in use", SECONDS, costs),
            ("growth-memory", "Memory over models in use", BYTES, memory),
        )
    ]


def package_entry(setting: Setting, factory: str, **arguments: Any) -> Entry:
    """Return this project's package, invoked in its process."""
    installed = setting.installed()
    path = installed.package(installed.architecture, has_bytecode=True)
    return Entry(
        OURS,
        factory,
        {"event": PREDICT_EVENT, **arguments},
        installed.python,
        [path],
        setting.bucket.environment,
    )

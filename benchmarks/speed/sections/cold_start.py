"""Cold starts under Lambda's own runtime client, and the memory that they take."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.speed.bucket import (
    CONTEXTUAL_FOREST,
    ESTIMATOR,
    NAMED_ESTIMATOR,
    VALUE_FOREST,
)
from benchmarks.speed.errors import DisagreementError, MissingError
from benchmarks.speed.figures import BYTES, SECONDS, Figure, Goal, Growth, Row
from benchmarks.speed.machine import ALIKE
from benchmarks.speed.setting import OURS, PREDICT_EVENT, Setting
from tests.e2e import lambda_runtime
from tests.support.lambda_runtime import LambdaRuntime

OURS_CONTEXTUAL = f"{OURS}, contextual forest"
TUTORIAL, WITHOUT_PANDAS, EMPTY = "tutorial", "tutorial without pandas", "empty function"
PATIENCE_SECONDS = 120

HOW = (
    "from the start of a process to its first answer to a REST proxy event, under awslambdaric, "
    "the model from a bucket over HTTP"
)


@dataclass(frozen=True)
class Function:
    """A function as it is deployed."""

    who: str
    package: Path
    handler: str = "app.lambda_handler"
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Start:
    """One cold start: seconds to the first answer, bytes held at most until then."""

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


def functions(setting: Setting, *, has_bytecode: bool) -> list[Function]:
    """Return the contestants: the forest of one value by all, this project's best model beside."""
    installed = setting.installed()

    def peer(name: str) -> Path:
        return installed.peer(name, installed.architecture, has_bytecode=has_bytecode)

    ours = installed.package(installed.architecture, has_bytecode=has_bytecode)
    handler = "ops_anomaly.api.handler.lambda_handler"
    lighter = Function(
        WITHOUT_PANDAS, peer("tutorial_without_pandas"), environment={"MODEL_KEY": ESTIMATOR}
    )
    return [
        Function(OURS, ours, handler, {"DEFAULT_MODEL": VALUE_FOREST}),
        Function(TUTORIAL, peer("tutorial"), environment={"MODEL_KEY": NAMED_ESTIMATOR}),
        *setting.pick((lighter,), ()),
        Function(OURS_CONTEXTUAL, ours, handler, {"DEFAULT_MODEL": CONTEXTUAL_FOREST}),
        Function(EMPTY, peer("empty")),
    ]


def start(setting: Setting, function: Function, more: Mapping[str, str]) -> Start:
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
    with MeasuredRuntime(silent, setting.folder, environment) as runtime:
        answer = runtime.invoke(PREDICT_EVENT)
        seconds = time.perf_counter() - began
        peak = runtime.peak
    if not json.loads(answer["body"]).get("is_anomaly"):
        raise DisagreementError(f"{function.who} answers {answer}")
    return Start(seconds, peak)


def starts(setting: Setting, *, has_bytecode: bool, rounds: int) -> dict[str, list[Start]]:
    """Start all functions in turn, so many times; a first time, to read all files, is not told."""
    state = "with bytecode" if has_bytecode else "without bytecode"
    setting.tell(f"cold start {state}: packages")
    contestants = functions(setting, has_bytecode=has_bytecode)
    more = {} if has_bytecode else {"PYTHONDONTWRITEBYTECODE": "1"}
    measured: dict[str, list[Start]] = {each.who: [] for each in contestants}
    for number in range(-1 if has_bytecode else 0, rounds):
        for each in contestants:
            setting.tell(f"cold start {state}: round {max(number, 0) + 1} of {rounds}, {each.who}")
            taken = start(setting, each, more)
            if number >= 0:
                measured[each.who].append(taken)
    return measured


def seconds(measured: Mapping[str, Sequence[Start]], who: str, name: str = "") -> Figure:
    """Return one contestant's seconds."""
    return Figure.of(name or who, (each.seconds for each in measured[who]))


def peaks(measured: Mapping[str, Sequence[Start]], who: str) -> Figure:
    """Return one contestant's peaks of memory."""
    return Figure.of(who, (float(each.peak) for each in measured[who]))


def cold_start(setting: Setting) -> list[Row | Growth]:
    """Measure cold starts with valid bytecode and without any."""
    if setting.machine.core is None:
        raise MissingError("cold starts are measured on Linux, by taskset and /proc")
    lambda_runtime.SECONDS_TO_ANSWER = PATIENCE_SECONDS
    valid = starts(setting, has_bytecode=True, rounds=setting.pick(9, 2))
    none = starts(setting, has_bytecode=False, rounds=setting.pick(3, 1))
    others = [who for who in valid if who not in (OURS, OURS_CONTEXTUAL)]
    rows: list[Row | Growth] = []
    for state, how, measured in (
        ("with bytecode", f"{HOW}; all packages compiled before", valid),
        ("without bytecode", f"{HOW}; no package compiled, none written", none),
    ):
        name = f"cold-start-{state.replace(' ', '-')}"
        peers = tuple(seconds(measured, who) for who in others)
        rows += [
            Row(
                *(name, f"Cold start, {state}", how, SECONDS),
                *(seconds(measured, OURS), peers, Goal(7, 12)),
            ),
            Row(
                *(f"{name}-contextual", f"Cold start, {state}, contextual forest", how, SECONDS),
                *(seconds(measured, OURS_CONTEXTUAL, OURS), peers),
            ),
        ]
    shipped = tuple(seconds(none, who) for who in others)
    how = f"{HOW}; this project compiled, the others as `sam build` ships them by default"
    rows.insert(
        4,
        Row(
            *("cold-start-as-shipped", "Cold start, each as it is shipped", how, SECONDS),
            *(seconds(valid, OURS), shipped, Goal(20, 35)),
        ),
    )
    how = "peak of the process's memory at its first answer"
    peers = tuple(peaks(valid, who) for who in others)
    for name, what, who, goal in (
        ("memory", "Memory at the first answer", OURS, Goal(3)),
        (
            "memory-contextual",
            "Memory at the first answer, contextual forest",
            OURS_CONTEXTUAL,
            None,
        ),
    ):
        rows.append(Row(name, what, how, BYTES, peaks(valid, who), peers, goal))
    return rows

"""A state machine on this machine: moto interprets its definition, and Lambda is faked.

`moto.stepfunctions.parser` executes states, retries, catches and maps, and calls other services at
MOTO_PORT. There `StepFunctions` stands before moto's server: it enforces the role of the state
machine, and invokes functions itself, by `FakeLambda`, each instance of them in its own role.

What AWS does and moto 5.2.5 does not:

- *A map that tolerates no failure fails with the first.* moto tolerates every one.
- *What a map returns.* moto has null for what failed. Its ResultWriter writes a manifest of no
  files, and reads its paths from the last result: it is left out.
- *ItemBatcher, HeartbeatSeconds, Credentials and the like.*
- *An interval before a retry.* moto sleeps; here it is recorded, and a share of it passes, if any.
- *The role.* moto calls as nobody; see above. What AWS itself does by it (children of a map, log
  deliveries) is not called here.
- *Redrive*, and the Scheduler that starts executions.

So `check_definition` refuses a definition that relies on any of these.
"""

from __future__ import annotations

import datetime
import importlib
import json
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import pytest
import requests
from moto.stepfunctions.parser import models as moto_executions
from moto.stepfunctions.parser.asl.component.common.retry import retrier_decl as moto_retries

from local.gateway import LocalContext
from local.stack import local_client
from tests.support.forwarding import Request, Response, running
from tests.support.roles import (
    ACCOUNT,
    EnforcedRole,
    Statement,
    actions,
    arn,
    calls_of,
    is_allowed,
)

# --- definitions --------------------------------------------------------------------------------

FLOW = {"Type", "Comment", "Next", "End", "InputPath", "OutputPath", "ResultPath", "QueryLanguage"}
DATA = {"Parameters", "ResultSelector", "Arguments", "Output", "Assign"}
ERRORS = {"Retry", "Catch", "TimeoutSeconds"}
FIELDS: dict[str, set[str]] = {
    "Task": FLOW | DATA | ERRORS | {"Resource"},
    "Choice": FLOW | {"Choices", "Default"},
    "Pass": FLOW | DATA | {"Result"},
    "Fail": FLOW | {"Error", "Cause", "ErrorPath", "CausePath"},
    "Succeed": FLOW,
    "Map": FLOW
    | DATA
    | ERRORS
    | {
        *("ItemReader", "ItemSelector", "ItemProcessor", "MaxConcurrency", "MaxConcurrencyPath"),
        *("Label", "ToleratedFailurePercentage", "ResultWriter"),
    },
}
"""Of each type of state, what moto executes as AWS does."""

LAMBDA, READER = "arn:aws:states:::lambda:invoke", "arn:aws:states:::s3:getObject"


class NotExecutedError(AssertionError):
    """A definition relies on what nothing here executes."""


def check_definition(definition: Mapping[str, Any]) -> None:
    """Raise `NotExecutedError` unless moto executes all of a definition as AWS does."""
    for name, state in definition["States"].items():
        foreign = state.keys() - FIELDS.get(state["Type"], set())
        if foreign:
            raise NotExecutedError(f"{name}: {', '.join(sorted(foreign))}")
        if state["Type"] == "Task" and state["Resource"] != LAMBDA:
            raise NotExecutedError(f"{name}: {state['Resource']}")
        if state["Type"] == "Map":
            check_map(name, state)
            check_definition(state["ItemProcessor"])


def check_map(name: str, state: Mapping[str, Any]) -> None:
    """Raise `NotExecutedError` unless moto executes a Distributed Map as AWS does."""
    if state.get("ToleratedFailurePercentage") != 100:
        raise NotExecutedError(f"{name}: moto tolerates every failure")
    if state["ItemReader"]["Resource"] != READER:
        raise NotExecutedError(f"{name}: {state['ItemReader']['Resource']}")
    uses_result = state.get("ResultPath", "$") is not None and "Output" not in state
    if uses_result or "$states.result" in json.dumps([state.get(key) for key in DATA]):
        raise NotExecutedError(f"{name}: what moto's map returns is not what AWS's does")


def as_moto_reads_it(definition: Any) -> Any:
    """Return a definition without what a map tolerates and writes, neither of which moto does."""
    ignored = {"ToleratedFailurePercentage", "ResultWriter"}
    match definition:
        case dict():
            kept = definition.keys() - ignored
            return {key: as_moto_reads_it(definition[key]) for key in kept}
        case list():
            return [as_moto_reads_it(each) for each in definition]
    return definition


# --- Lambda -------------------------------------------------------------------------------------

Handler = Callable[[Any, Any], Any]


def never(request: Request) -> bool:
    """Return that a request is not the last one of an instance."""
    return False


class Instance(EnforcedRole):
    """An instance of a function: all that it reaches, it reaches through this server, in its role.

    It has its own environment when it starts, and may be ended at a request.
    """

    def __init__(self, function: Function, behind: str) -> None:
        super().__init__(behind, function.statements)
        self.function = function
        self.ends_at: Callable[[Request], bool] = never
        self.on_end: Callable[[], None] = lambda: None
        self.survives = False
        self.has_ended = False

    def start(self) -> None:
        """Import the module of the handler, and connect: what a cold start does."""
        self.handler = cold_start(
            self.function, {**self.function.environment, "AWS_ENDPOINT_URL": self.url}
        )

    def respond(self, request: Request) -> Response | None:
        if not self.has_ended and self.ends_at(request):
            self.ends_at = never
            self.has_ended = not self.survives
            self.on_end()
        return None if self.has_ended else super().respond(request)


@dataclass(frozen=True)
class Function:
    """A function as it is deployed.

    Attributes
    ----------
    handler : str
        module.function
    connect
        Given the module, has it read its environment, which it does once an instance.
    """

    name: str
    handler: str
    environment: Mapping[str, str]
    statements: list[Statement]
    connect: Callable[[ModuleType], object]

    @property
    def arn(self) -> str:
        return arn("lambda", f"function:{self.name}")


ENVIRONMENT = threading.Lock()
"""Of the process, which instances set one after the other."""


def cold_start(function: Function, environment: Mapping[str, str]) -> Handler:
    """Return the handler of a module that is imported anew, and has read an environment."""
    module, _, name = function.handler.rpartition(".")
    with ENVIRONMENT, pytest.MonkeyPatch.context() as patch:
        for variable, value in environment.items():
            patch.setenv(variable, value)
        patch.delitem(sys.modules, module, raising=False)
        imported = importlib.import_module(module)
        function.connect(imported)
    handler: Handler = getattr(imported, name)
    return handler


How = Literal["throttled", "response lost", "crash", "timeout", "still running"]
"""Lambda refuses; the work is done, and nobody learns of it; the instance ends in the middle; or it
still runs, and Step Functions gets an error."""

FAILED = "x-amz-function-error"
"""Header of Lambda's response where a function raised an error, or ended."""

UNHANDLED: dict[How, tuple[str, str]] = {
    "crash": ("Runtime.ExitError", "Error: Runtime exited with error: signal: killed"),
    "timeout": ("Sandbox.Timedout", "Error: Task timed out after 900.00 seconds"),
}
REFUSED: dict[How, tuple[int, str]] = {
    "throttled": (429, "TooManyRequestsException"),
    "response lost": (500, "ServiceException"),
    "still running": (500, "ServiceException"),
}


@dataclass
class Fault:
    """What goes wrong with some invocations.

    Attributes
    ----------
    of
        Whether it is an invocation: the function's name, and the event.
    at
        The request at which the instance ends, or the response is lost before the work is done.
    times : int
        How often it still happens.
    """

    how: How
    of: Callable[[str, Any], bool]
    at: Callable[[Request], bool] = never
    times: int = 1


@dataclass
class Invocation:
    """An invocation of a function; it is done if the function returned and Lambda said so."""

    function: str
    event: Any
    fault: How | None
    is_done: bool = False


@dataclass
class FakeLambda:
    """Invokes real handlers in this process, an instance each at a time; what it fakes is Lambda.

    An exception is an unhandled error of the function. An instance that is idle is used again.

    Attributes
    ----------
    invocations : list of Invocation
        In the order in which they began.
    most : dict of str to int
        How many instances of each function ran at the same time, at most.
    """

    functions: Mapping[str, Function]
    behind: str
    resources: ExitStack
    faults: list[Fault] = field(default_factory=list)
    invocations: list[Invocation] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._mutex = threading.Lock()
        self._idle: list[Instance] = []
        self._busy: list[Instance] = []

    def invoke(self, name: str, body: bytes) -> Response:
        event = json.loads(body)
        fault = self._next_fault(name, event)
        invocation = Invocation(name, event, fault.how if fault else None)
        self.invocations.append(invocation)
        if fault and fault.how == "throttled":
            return self._refusal(fault.how)
        instance = self._instance(self.functions[name])
        responses: SimpleQueue[Response] = SimpleQueue()

        def run() -> None:
            response = self._run(instance, event)
            lost = fault is not None and fault.how == "response lost"
            responses.put(self._refusal("response lost") if lost else response)

        if fault and fault.how != "response lost":
            how = fault.how
            instance.ends_at, instance.survives = fault.at, how == "still running"
            instance.on_end = lambda: responses.put(self._end_of(how))
        threading.Thread(target=run, daemon=True).start()
        response = responses.get()
        invocation.is_done = response.status == 200 and response.headers.get(FAILED) is None
        with self._mutex:
            self._busy.remove(instance)
            if not fault:
                self._idle.append(instance)
            elif instance.ends_at is not never:  # the invocation failed before
                fault.times, invocation.fault = fault.times + 1, None
        return response

    def denied(self) -> list[Any]:
        """Return what roles of functions did not allow."""
        return [call for instance in self.instances for call in instance.denied]

    def used(self, name: str) -> set[str]:
        """Return the actions that a function's role allowed and that it used."""
        return {
            action
            for instance in self.instances
            if instance.function.name == name
            for action in instance.used
        }

    def allowed(self, name: str) -> set[str]:
        """Return the actions that a function's role allows."""
        return actions(self.functions[name].statements)

    def _next_fault(self, name: str, event: Any) -> Fault | None:
        with self._mutex:
            for fault in self.faults:
                if fault.times and fault.of(name, event):
                    fault.times -= 1
                    return fault
        return None

    def _instance(self, function: Function) -> Instance:
        with self._mutex:
            idle = [each for each in self._idle if each.function == function]
            if idle:
                self._idle.remove(idle[0])
            instance = idle[0] if idle else Instance(function, self.behind)
            self._busy.append(instance)
            busy = sum(each.function == function for each in self._busy)
            self.most[function.name] = max(self.most.get(function.name, 0), busy)
            if not idle:
                self.instances.append(instance)
                self.resources.enter_context(running(instance))
        if not idle:
            instance.start()
        return instance

    def _run(self, instance: Instance, event: Any) -> Response:
        try:
            result = instance.handler(event, LocalContext(function_name=instance.function.name))
        except Exception as error:
            return unhandled(type(error).__name__, str(error))
        return lambda_response(200, json.dumps(result).encode())

    def _refusal(self, how: How) -> Response:
        status, code = REFUSED[how]
        return lambda_response(status, b'{"Message": "made up"}', {"x-amzn-errortype": code})

    def _end_of(self, how: How) -> Response:
        return unhandled(*UNHANDLED[how]) if how in UNHANDLED else self._refusal(how)


def unhandled(kind: str, message: str) -> Response:
    """Return how Lambda responds where a function raised an error, or its process ended."""
    body = json.dumps({"errorType": kind, "errorMessage": message}).encode()
    return lambda_response(200, body, {FAILED: "Unhandled"})


def lambda_response(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    of_all = {"content-type": "application/json", "x-amzn-requestid": str(uuid.uuid4())}
    return Response(status, {**of_all, **(headers or {})}, body)


# --- Step Functions -----------------------------------------------------------------------------


class StepFunctions(EnforcedRole):
    """What the state machine's calls reach: functions, and moto's server for the rest."""

    def __init__(self, behind: str, statements: list[Statement], functions: FakeLambda) -> None:
        super().__init__(behind, statements)
        self.functions = functions

    def respond(self, request: Request) -> Response | None:
        [*calls] = calls_of(request)
        if calls[0].action != "lambda:InvokeFunction":
            return super().respond(request)
        if not is_allowed(calls[0], self.statements):
            self.denied.append(calls[0])
            message = json.dumps({"Message": f"not authorized to perform: {calls[0]}"}).encode()
            return lambda_response(403, message, {"x-amzn-errortype": "AccessDeniedException"})
        self.used.add(calls[0].action)
        return self.functions.invoke(calls[0].resource.rpartition(":")[2], request.body)


@dataclass(frozen=True)
class Execution:
    """An execution that has ended."""

    name: str
    status: str
    output: Any
    error: str | None
    cause: str | None
    states: list[str]


@dataclass
class Clock:
    """Simulated time: when executions begin."""

    now: datetime.datetime = field(default=datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))


@dataclass
class StateMachine:
    """A state machine whose executions take place at simulated times.

    Attributes
    ----------
    waits : list of float
        Seconds before each retry, of all executions; no time passed.
    """

    client: Any
    arn: str
    step_functions: StepFunctions
    functions: FakeLambda
    waits: list[float]
    clock: Clock

    def start(self, at: datetime.datetime) -> str:
        """Start an execution at a simulated time; return its ARN."""
        self.clock.now = at
        started = self.client.start_execution(
            stateMachineArn=self.arn, name=str(uuid.uuid4()), input="{}"
        )
        return str(started["executionArn"])

    def result(self, execution: str) -> Execution:
        """Return an execution when it has ended."""
        ended = threading.Event()
        while (found := self.client.describe_execution(executionArn=execution))[
            "status"
        ] == "RUNNING":
            ended.wait(0.05)
        history = self.client.get_execution_history(executionArn=execution)["events"]
        return Execution(
            found["name"],
            found["status"],
            json.loads(found["output"]) if "output" in found else None,
            found.get("error"),
            found.get("cause"),
            [each["stateEnteredEventDetails"]["name"] for each in history if entered(each)],
        )

    def execute(self, at: datetime.datetime) -> Execution:
        """Execute the state machine at a simulated time, to its end."""
        return self.result(self.start(at))


def entered(event: Mapping[str, Any]) -> bool:
    """Return whether a state was entered."""
    return "stateEnteredEventDetails" in event


@contextmanager
def state_machine(
    moto: str,
    definition: Mapping[str, Any],
    statements: list[Statement],
    functions: list[Function],
    clock: Clock,
    pace: float = 0.0,
) -> Iterator[StateMachine]:
    """Create a state machine on moto's server, with functions and roles; remove it afterwards.

    Parameters
    ----------
    moto
        URL of moto's server.
    statements
        Of the state machine's role.
    pace
        The share of the time before a retry that passes.

    Raises
    ------
    NotExecutedError
        If the definition relies on what nothing here executes.
    """
    check_definition(definition)
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(pace * seconds)

    configure(moto, execute=True)
    with ExitStack() as resources, pytest.MonkeyPatch.context() as patch:
        fake = FakeLambda({each.name: each for each in functions}, moto, resources)
        front = resources.enter_context(running(StepFunctions(moto, statements, fake)))
        patch.setenv("MOTO_PORT", str(front.server_port))
        patch.setattr(moto_retries, "time", SimpleNamespace(sleep=sleep))
        simulated = SimpleNamespace(now=lambda tz: clock.now)
        patch.setattr(
            moto_executions,
            "datetime",
            SimpleNamespace(datetime=simulated, timezone=datetime.timezone),
        )
        client = local_client("stepfunctions", moto)
        created = client.create_state_machine(
            name=f"retraining-{uuid.uuid4().hex[:12]}",
            definition=json.dumps(as_moto_reads_it(definition)),
            roleArn=f"arn:aws:iam::{ACCOUNT}:role/states",
        )["stateMachineArn"]
        try:
            yield StateMachine(client, created, front, fake, waits, clock)
        finally:
            client.delete_state_machine(stateMachineArn=created)
            configure(moto, execute=False)


def configure(moto: str, *, execute: bool) -> None:
    """Let moto execute state machines, or not."""
    config = {"stepfunctions": {"execute_state_machine": execute}}
    requests.post(f"{moto}/moto-api/config", json=config, timeout=10).raise_for_status()

"""The process that is measured: it makes one contestant, and runs it whenever it is requested to.

    python -m benchmarks.speed.contestants FACTORY

FACTORY is a function below. Requests and results are lines of JSON, over standard input and what
standard output was; what contestants print is discarded. Each library is imported by its own
contestant alone.
"""

from __future__ import annotations

import json
import math
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import import_module
from itertools import repeat
from time import perf_counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from sklearn.ensemble import IsolationForest

    from ops_anomaly.detection.lstm_autoencoder import LstmWeights
    from ops_anomaly.detection.types import Detector, Series

    Event = dict[str, Any]
    Single = npt.NDArray[np.float32]
    Scorer = Callable[[Any], Any]

SEED = 42

GRAIN = 200e-6
"""Seconds of work that are timed together, at least: the clock itself takes 50 ns."""


@dataclass(frozen=True)
class Contestant:
    """One of those that do the same work.

    Attributes
    ----------
    run : callable
        Does the work once; this is timed.
    output : callable
        Returns the result, or a part of it, as JSON has it, so that results can be compared.
    """

    run: Callable[[], object]
    output: Callable[[], Any]


def main() -> None:
    """Serve requests until input ends."""
    results = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    factory: Callable[..., Contestant] = globals()[sys.argv[1]]
    for line in sys.stdin:
        result: Any = None
        match json.loads(line):
            case {"make": dict(arguments)}:
                contestant = factory(**arguments)
            case {"seconds": float(budget)}:
                result = seconds_a_call(contestant.run, budget)
            case "output":
                result = contestant.output()
            case "memory":
                result = resident_bytes()
            case _:
                raise ValueError(line)
        results.write(json.dumps(result) + "\n")


def seconds_a_call(run: Callable[[], object], budget: float) -> list[float]:
    """Return how long each call took, or the mean of several where one is too short for the clock.

    Parameters
    ----------
    budget
        Seconds to spend. A call that takes longer is made once.
    """
    began = perf_counter()
    run()
    first = perf_counter() - began
    if first >= budget:
        return [first]
    number = math.ceil(GRAIN / first) if first < GRAIN / 10 else 1
    times = []
    until = perf_counter() + budget
    while (began := perf_counter()) < until:
        for _ in repeat(None, number):
            run()
        times.append((perf_counter() - began) / number)
    return times


def resident_bytes() -> int:
    """Return the memory of this process, as Linux counts it."""
    with open("/proc/self/statm") as pages:
        return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# Services: a request in, a response out.

CONTEXT = SimpleNamespace(
    function_name="api",
    function_version="$LATEST",
    memory_limit_in_mb=1024,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:api",
    aws_request_id="3f1c0a52-6d2b-4c0e-9f7a-000000000002",
    get_remaining_time_in_millis=lambda: 10_000,
)
OUR_HANDLER = "ops_anomaly.api.handler"


def checked(status: int, body: str) -> Any:
    """Return the JSON of a successful response."""
    if status != 200:
        raise RuntimeError(f"{status}: {body}")
    return json.loads(body)


def handler(module: str, event: Event) -> Contestant:
    """Return a Lambda handler, invoked with a REST proxy event."""
    function = import_module(module).lambda_handler

    def output() -> Any:
        response = function(event, CONTEXT)
        return checked(response["statusCode"], response["body"])

    return Contestant(lambda: function(event, CONTEXT), output)


def posted_series(event: Event, readings: int) -> Contestant:
    """Return this project's handler on a posted series, without a model."""
    drawn, begin = random.Random(SEED), datetime(2026, 1, 1, tzinfo=UTC)
    posted = [
        {
            "timestamp": (begin + timedelta(minutes=5 * n)).isoformat(),
            "value": 30.0 + 10.0 * math.sin(n * math.tau / 288) + drawn.gauss(0.0, 1.0),
        }
        for n in range(readings)
    ]
    body = json.dumps({"series": posted})
    one = handler(OUR_HANDLER, {**event, "path": "/detect", "body": body})
    return Contestant(one.run, lambda: len(one.output()["points"]))


def many_models(event: Event, models: list[str]) -> Contestant:
    """Return this project's handler, with one of these models at random each time."""
    function = import_module(OUR_HANDLER).lambda_handler
    events = [{**event, "body": json.dumps({"value": 95.0, "model": model})} for model in models]
    chosen = random.Random(SEED)

    def output() -> bool:
        for each in events:
            response = function(each, CONTEXT)
            checked(response["statusCode"], response["body"])
        return True

    return Contestant(lambda: function(chosen.choice(events), CONTEXT), output)


def fastapi_service(body: str) -> Contestant:
    """Return FastAPI with pandas and scikit-learn's forest: an ASGI call, no HTTP is parsed."""
    import asyncio

    import joblib
    import pandas as pd
    from fastapi import FastAPI
    from pydantic import create_model

    app = FastAPI()
    model = joblib.load(os.environ["MODEL_FILE"])
    request_model: Any = create_model("PredictRequest", value=(float, ...))
    response_model: Any = create_model(
        "PredictResponse", is_anomaly=(bool, ...), predicted_value=(int, ...)
    )

    def predict(request: Any) -> Any:
        prediction = int(model.predict(pd.DataFrame({"value": [request.value]}))[0])
        return response_model(is_anomaly=prediction == -1, predicted_value=prediction)

    predict.__annotations__ = {"request": request_model, "return": response_model}
    app.post("/predict")(predict)

    loop, content = asyncio.new_event_loop(), body.encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/predict",
        "raw_path": b"/predict",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    async def respond() -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        await app(dict(scope), receive, send)
        return sent

    def output() -> Any:
        start, *rest = loop.run_until_complete(respond())
        return checked(start["status"], b"".join(part["body"] for part in rest).decode())

    return Contestant(lambda: loop.run_until_complete(respond()), output)


# The same isolation forest by scikit-learn, onnxruntime, treelite, and by this project: fitted on
# the same rows with the same seed in each process, so each scores with the same trees. One thread
# each. Scores are this project's and scikit-learn's `-score_samples`: high is anomalous.

FITTED_ON = 2_016
COMPARED = 500
"""Rows whose scores are compared."""


def forest_scores(library: str, trees: int, features: int, rows: int) -> Contestant:
    """Return what scores so many rows in one call."""
    import numpy as np

    given = np.random.default_rng(SEED + 1).normal(scale=2.0, size=(rows, features))
    scorer = converted(library, trees, features)
    return Contestant(lambda: scorer(given), lambda: scorer(given[:COMPARED]).tolist())


def forest_decision(library: str, trees: int) -> Contestant:
    """Return what decides on one value: its conversion into the library's input is included."""
    value = 4.0
    decide = DECIDERS[library](fitted(trees, 1))
    return Contestant(lambda: decide(value), lambda: bool(decide(value)))


@cache
def converted(library: str, trees: int, features: int) -> Scorer:
    """Return the library's scorer: converted once, as that takes some libraries seconds."""
    return SCORERS[library](fitted(trees, features))


@cache
def fitted(trees: int, features: int) -> IsolationForest:
    """Return a forest fitted on so many normally distributed features, trees of 256 rows."""
    import numpy as np
    from sklearn.ensemble import IsolationForest

    rows = np.random.default_rng(SEED).normal(size=(FITTED_ON, features))
    return IsolationForest(n_estimators=trees, random_state=SEED).fit(rows)


def scikit_learn(forest: IsolationForest) -> Scorer:
    """Return scikit-learn's own scores."""
    return lambda rows: -forest.score_samples(rows)


def onnx_runtime(forest: IsolationForest) -> Scorer:
    """Return onnxruntime's scores, which are scikit-learn's decision_function."""
    import numpy as np

    session = onnx_session(forest)
    return lambda rows: (
        -session.run(["scores"], {"X": rows.astype(np.float32)})[0].ravel() - forest.offset_
    )


def onnx_session(forest: IsolationForest) -> Any:
    """Return the forest in onnxruntime, on one thread."""
    import numpy as np
    import onnxruntime
    from skl2onnx import to_onnx

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    one_row = np.zeros((1, forest.n_features_in_), np.float32)
    model = to_onnx(forest, one_row, target_opset={"": 18, "ai.onnx.ml": 3})
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def treelite_interpreter(forest: IsolationForest) -> Scorer:
    """Return treelite's scores."""
    import numpy as np
    import treelite

    model = treelite.sklearn.import_model(forest)
    return lambda rows: treelite.gtil.predict(model, rows.astype(np.float32), nthread=1).ravel()


def this_project(forest: IsolationForest) -> Scorer:
    """Return this project's scores of any number of features."""
    from training.candidates.contextual import export_isolation_forest

    return export_isolation_forest(forest).score_samples


def this_value_forest(forest: IsolationForest) -> Scorer:
    """Return this project's scores of one value."""
    import numpy as np

    from ops_anomaly.detection.types import Series
    from training.candidates.value_forest import export_value_forest

    value_forest, no_times = export_value_forest(forest), np.empty(0, np.int64)
    return lambda rows: value_forest.score_samples(Series(no_times, rows[:, 0]))


SCORERS: dict[str, Callable[[IsolationForest], Scorer]] = {
    "this project": this_project,
    "this project's value forest": this_value_forest,
    "scikit-learn": scikit_learn,
    "onnxruntime": onnx_runtime,
    "treelite": treelite_interpreter,
}


def decide_by_this_value_forest(forest: IsolationForest) -> Callable[[float], bool]:
    """Return this project's decision."""
    from training.candidates.value_forest import export_value_forest

    return export_value_forest(forest).predict


def decide_by_scikit_learn(forest: IsolationForest) -> Callable[[float], bool]:
    """Return scikit-learn's decision."""
    return lambda value: bool(forest.predict([[value]])[0] == -1)


def decide_by_onnx_runtime(forest: IsolationForest) -> Callable[[float], bool]:
    """Return onnxruntime's decision."""
    import numpy as np

    session = onnx_session(forest)
    return lambda value: bool(
        session.run(["label"], {"X": np.array([[value]], np.float32)})[0][0, 0] < 0
    )


def decide_by_treelite(forest: IsolationForest) -> Callable[[float], bool]:
    """Return treelite's decision."""
    import numpy as np

    score = treelite_interpreter(forest)
    return lambda value: bool(score(np.array([[value]]))[0] > -forest.offset_)


DECIDERS: dict[str, Callable[[IsolationForest], Callable[[float], bool]]] = {
    "this project's value forest": decide_by_this_value_forest,
    "scikit-learn": decide_by_scikit_learn,
    "onnxruntime": decide_by_onnx_runtime,
    "treelite": decide_by_treelite,
}


# Detectors of a stream: river's, one reading at a time, and this project's. river's are made once,
# and continue with the series from its beginning whenever they are run.

PUBLISHED = {"n_trees": 25, "height": 15}
"""The settings of Tan, Ting and Liu, "Fast anomaly detection for streaming data", IJCAI 2011."""

DAY = 288
"""Readings in a day."""


def half_space_trees(readings: int, *, as_published: bool = False) -> Contestant:
    """Return river's half-space trees behind its scaler, as its documentation has them."""
    from river import anomaly, preprocessing

    settings: dict[str, Any] = PUBLISHED if as_published else {}
    detector = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=SEED, **settings)
    rows = [{"value": value} for value in simulated(readings).values.tolist()]

    def run() -> float:
        score = 0.0
        for row in rows:
            score = detector.score_one(row)
            detector.learn_one(row)
        return score

    return Contestant(run, run)


def windowed_gaussian(readings: int) -> Contestant:
    """Return river's Gaussian over the last day."""
    from river import anomaly

    detector = anomaly.GaussianScorer(window_size=DAY)
    values = simulated(readings).values.tolist()

    def run() -> float:
        score = 0.0
        for value in values:
            score = detector.score_one(None, value)
            detector.learn_one(None, value)
        return score

    return Contestant(run, run)


def contextual(readings: int, *, has_model: bool) -> Contestant:
    """Return this project's detector: scores, decisions, bounds, reasons and alerts of a series."""
    from ops_anomaly.detection import untrained

    series = simulated(FITTED_ON + readings)[FITTED_ON:]
    detector = fitted_contextual() if has_model else untrained()
    return Contestant(lambda: detector.detect(series), lambda: len(detector.detect(series).scores))


def contextual_update() -> Contestant:
    """Return this project's detector on a stream: one reading at a time."""
    detector, one = fitted_contextual(), simulated(FITTED_ON + 1)[FITTED_ON:]
    return Contestant(lambda: detector.update(one), lambda: 1)


def fitted_contextual() -> Detector:
    """Return the contextual detector, fitted on the first half of the simulated series."""
    from training.candidates.contextual import fit_contextual
    from training.sources import simulate_ec2_cpu

    return fit_contextual(simulate_ec2_cpu().part(0, FITTED_ON), SEED).detector


def simulated(readings: int) -> Series:
    """Return so many readings of the simulated series, repeated where it is too short."""
    import numpy as np

    from ops_anomaly.detection.types import Series
    from training.sources import simulate_ec2_cpu

    series = simulate_ec2_cpu().series
    times = series.times[0] + int(series.step) * np.arange(readings)
    return Series(times, np.resize(series.values, readings))


# The same LSTM autoencoder, one window, by Keras, PyTorch, and by this project in numpy. The
# weights are drawn at random, the same for each: they do not change the time.

WINDOW, UNITS = 30, 32


def lstm_this_project() -> Contestant:
    """Return this project's network in numpy."""
    from ops_anomaly.detection.lstm_autoencoder import reconstruct

    drawn, given = lstm_weights(), lstm_window()
    return reconstruction(lambda: reconstruct(drawn, given))


def lstm_keras(method: str) -> Contestant:
    """Return Keras's own, by `predict_on_batch` (compiled, no more) or `predict`."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import numpy as np

    from training.candidates.lstm_autoencoder import build_network

    network = build_network(WINDOW, UNITS)
    network.set_weights(list(vars(lstm_weights()).values()))
    given = lstm_window()[..., np.newaxis]
    if method == "predict":
        return reconstruction(lambda: network.predict(given, verbose=0))
    return reconstruction(lambda: np.asarray(network.predict_on_batch(given)))


def lstm_torch() -> Contestant:
    """Return PyTorch's own LSTM layers, in inference mode, on one thread."""
    import numpy as np
    import torch

    torch.set_num_threads(1)
    drawn = lstm_weights()
    encoder = torch.nn.LSTM(1, UNITS, batch_first=True)
    decoder = torch.nn.LSTM(UNITS, UNITS, batch_first=True)
    dense = torch.nn.Linear(UNITS, 1)

    def fill(parameter: Any, values: Single) -> None:
        parameter.data = torch.tensor(np.ascontiguousarray(values.T))

    for layer, kernel, recurrent, bias in (
        (encoder, drawn.encoder_kernel, drawn.encoder_recurrent, drawn.encoder_bias),
        (decoder, drawn.decoder_kernel, drawn.decoder_recurrent, drawn.decoder_bias),
    ):
        fill(layer.weight_ih_l0, kernel)
        fill(layer.weight_hh_l0, recurrent)
        fill(layer.bias_ih_l0, bias)
        fill(layer.bias_hh_l0, np.zeros_like(bias))
    fill(dense.weight, drawn.dense_kernel)
    fill(dense.bias, drawn.dense_bias)
    given = torch.tensor(lstm_window())[..., np.newaxis]

    def run() -> Any:
        with torch.inference_mode():
            encoding = encoder(given)[1][0][-1]
            repeated = encoding[:, np.newaxis].expand(-1, WINDOW, -1)
            return dense(decoder(repeated)[0]).numpy()

    return reconstruction(run)


def reconstruction(run: Callable[[], Any]) -> Contestant:
    """Return what reconstructs the window, with its output as a list of numbers."""
    return Contestant(run, lambda: run().ravel().tolist())


def lstm_weights() -> LstmWeights:
    """Return weights in Keras's order and layout."""
    import numpy as np

    from ops_anomaly.detection.lstm_autoencoder import LstmWeights

    gates = 4 * UNITS
    shapes = [(1, gates), (UNITS, gates), (gates,), (UNITS, gates), (UNITS, gates), (gates,)]
    drawn = np.random.default_rng(SEED)
    return LstmWeights(
        *(drawn.normal(0, 0.3, shape).astype(np.float32) for shape in [*shapes, (UNITS, 1), (1,)])
    )


def lstm_window() -> Single:
    """Return one window, (1, WINDOW)."""
    import numpy as np

    return np.sin(np.arange(WINDOW, dtype=np.float32))[np.newaxis]


if __name__ == "__main__":
    main()

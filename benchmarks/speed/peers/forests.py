"""The same isolation forest by scikit-learn, onnxruntime, treelite, and by this project.

Fitted on the same rows with the same seed in each process, so each scores with the same trees. One
thread each. Scores are this project's and scikit-learn's `-score_samples`: high is anomalous.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from sklearn.ensemble import IsolationForest

from benchmarks.speed.peers.contestant import Contestant

SEED = 42
FITTED_ON = 2_016
AGREED_ON = 500
"""Rows whose scores are compared."""

Scorer = Callable[[Any], Any]


@cache
def fitted(trees: int, features: int) -> IsolationForest:
    """Return a forest fitted on so many normally distributed features, trees of 256 rows."""
    rows = np.random.default_rng(SEED).normal(size=(FITTED_ON, features))
    return IsolationForest(n_estimators=trees, random_state=SEED).fit(rows)


def scores(library: str, trees: int, features: int, rows: int) -> Contestant:
    """Return what scores so many rows at once."""
    asked = np.random.default_rng(SEED + 1).normal(scale=2.0, size=(rows, features))
    scorer = made_scorer(library, trees, features)
    return Contestant(lambda: scorer(asked), lambda: scorer(asked[:AGREED_ON]).tolist())


@cache
def made_scorer(library: str, trees: int, features: int) -> Scorer:
    """Return what scores: converted once, as that takes some libraries seconds."""
    return SCORERS[library](fitted(trees, features))


def decision(library: str, trees: int) -> Contestant:
    """Return what decides on one value: its conversion into what the library takes is in it."""
    value = 4.0
    decide = DECIDERS[library](fitted(trees, 1))
    return Contestant(lambda: decide(value), lambda: bool(decide(value)))


def scikit_learn(forest: IsolationForest) -> Scorer:
    return lambda rows: -forest.score_samples(rows)


def onnx_runtime(forest: IsolationForest) -> Scorer:
    session = onnx_session(forest)
    # its scores are scikit-learn's decision_function
    return lambda rows: (
        -session.run(["scores"], {"X": rows.astype(np.float32)})[0].ravel() - forest.offset_
    )


def onnx_session(forest: IsolationForest) -> Any:
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
    import treelite

    model = treelite.sklearn.import_model(forest)
    return lambda rows: treelite.gtil.predict(model, rows.astype(np.float32), nthread=1).ravel()


def this_project(forest: IsolationForest) -> Scorer:
    from training.candidates.contextual_forest import export_isolation_forest

    return export_isolation_forest(forest).score_samples


def this_value_forest(forest: IsolationForest) -> Scorer:
    from training.candidates.value_forest import export_value_forest

    value_forest, no_times = export_value_forest(forest), np.empty(0, "datetime64[s]")
    return lambda rows: value_forest.score_samples(no_times, rows[:, 0])


SCORERS: dict[str, Callable[[IsolationForest], Scorer]] = {
    "this project": this_project,
    "this project's value forest": this_value_forest,
    "scikit-learn": scikit_learn,
    "onnxruntime": onnx_runtime,
    "treelite": treelite_interpreter,
}


def decide_by_this_value_forest(forest: IsolationForest) -> Callable[[float], bool]:
    from training.candidates.value_forest import export_value_forest

    return export_value_forest(forest).predict


def decide_by_scikit_learn(forest: IsolationForest) -> Callable[[float], bool]:
    return lambda value: forest.predict([[value]])[0] == -1


def decide_by_onnx_runtime(forest: IsolationForest) -> Callable[[float], bool]:
    session = onnx_session(forest)
    return lambda value: session.run(["label"], {"X": np.array([[value]], np.float32)})[0][0, 0] < 0


def decide_by_treelite(forest: IsolationForest) -> Callable[[float], bool]:
    score = treelite_interpreter(forest)
    return lambda value: score(np.array([[value]]))[0] > -forest.offset_


DECIDERS: dict[str, Callable[[IsolationForest], Callable[[float], bool]]] = {
    "this project's value forest": decide_by_this_value_forest,
    "scikit-learn": decide_by_scikit_learn,
    "onnxruntime": decide_by_onnx_runtime,
    "treelite": decide_by_treelite,
}

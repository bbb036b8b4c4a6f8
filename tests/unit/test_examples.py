"""The examples in docstrings run."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import benchmarks
import local
import ops_anomaly
import replay
import training

MODULES = [
    module.name
    for package in (ops_anomaly, training, replay, local, benchmarks)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    # a handler reads the environment, and a command line runs, as it is imported
    if not module.name.endswith((".handler", ".__main__", ".app"))
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_module(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def test_every_package_is_searched() -> None:
    assert {
        "ops_anomaly.detection.tails",
        "ops_anomaly.watcher.fleet",
        "training.sources.series",
        "local.gateway",
        "benchmarks.detection.nab_scoring",
    } <= set(MODULES)

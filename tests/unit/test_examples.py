"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import api
import detector
import registry
import watch

MODULES = [
    module.name
    for room in (api, detector, registry, watch)
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}.")
    if not module.name.endswith(".handler")  # a handler reads the environment as it is imported
]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of(name: str) -> None:
    module = importlib.import_module(name)
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0


def test_rooms_are_searched_with_what_is_in_them() -> None:
    assert {"api.body", "detector.tail", "registry.metric", "watch.fleet.turn"} <= set(MODULES)

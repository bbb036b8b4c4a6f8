"""The examples in docstrings are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import detector

MODULES = [module.name for module in pkgutil.iter_modules(detector.__path__)]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of(name: str) -> None:
    import numpy as np

    module = importlib.import_module(f"detector.{name}")
    assert doctest.testmod(module, extraglobs={"np": np}).failed == 0

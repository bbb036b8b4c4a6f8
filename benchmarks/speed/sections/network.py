"""The LSTM autoencoder, one window, against the libraries that train such networks."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from benchmarks.speed.contest import medians
from benchmarks.speed.figures import SECONDS, Goal, Growth, Row
from benchmarks.speed.process import ROOT, Entry
from benchmarks.speed.setting import OURS, Setting

ROUNDING = 1e-4
"""float32, sixty steps."""

XLA_ON_ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


def lstm(setting: Setting) -> list[Row | Growth]:
    """Measure one window; these libraries are the project's own, where they are installed."""
    factories = {
        OURS: ("this_project", {}),
        "Keras (jax), predict_on_batch": ("keras", {"method": "predict_on_batch"}),
        "PyTorch": ("torch", {}),
        "Keras (jax), predict": ("keras", {"method": "predict"}),
    }
    has_torch = find_spec("torch") is not None
    if not has_torch:
        del factories["PyTorch"]
    if setting.quick:
        del factories["Keras (jax), predict"]
    entries = [
        Entry(
            *(who, f"networks:{factory}", arguments, sys.executable, [ROOT / "functions"]),
            {"XLA_FLAGS": XLA_ON_ONE_THREAD, "KERAS_BACKEND": "jax"},
        )
        for who, (factory, arguments) in factories.items()
    ]
    times = setting.contest(rounds=9, budget=0.3, tolerance=ROUNDING).hold(entries, setting.tell)
    ours, *peers = medians(times)
    version = ".".join(map(str, sys.version_info[:2]))
    how = f"a window of 30 readings, two layers of 32 units, float32, Python {version}"
    how += "" if has_torch else "; PyTorch is not installed"
    return [
        Row(
            *("lstm", "LSTM autoencoder, one window", how, SECONDS),
            *(ours, tuple(peers), Goal(1, 2)),
        )
    ]

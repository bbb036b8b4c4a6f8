"""Self-hosted anomaly detection for operations metrics.

For interactive use and scripts:

>>> from ops_anomaly import detect, load_model
>>> detection = detect(["2026-01-01T00:00", "2026-01-01T00:05"], [0.5, 0.6])
>>> detection.is_anomaly.tolist()
[False, False]
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ops_anomaly.interactive import SeriesDetection, detect, load_model

__all__ = ["SeriesDetection", "detect", "load_model"]


def __getattr__(name: str) -> Any:
    """Import `interactive` when it is used: a Lambda function starts without it."""
    if name in __all__:
        return getattr(importlib.import_module("ops_anomaly.interactive"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

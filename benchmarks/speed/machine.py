"""The machine in words, and which of its cores is measured on."""

from __future__ import annotations

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

LIBRARIES = ("OPENBLAS", "OMP", "MKL", "NUMEXPR")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in LIBRARIES}

ALIKE = ONE_THREAD | {"PYTHONWARNINGS": "ignore"}
"""The environment of everything that is measured; a warning that is printed costs time, too."""


@dataclass(frozen=True)
class Machine:
    """Where this runs.

    Attributes
    ----------
    core : int or None
        The core that everything measured is bound to; None where processes can't be bound.
    """

    cpu: str
    cores: int
    system: str
    core: int | None

    @property
    def pin(self) -> list[str]:
        """What is put before a command so that it runs on that core."""
        return [] if self.core is None else ["taskset", "--cpu-list", str(self.core)]

    def __str__(self) -> str:
        bound = "unbound" if self.core is None else "measured on one of them"
        return f"{self.cpu}, {self.cores} cores ({bound}), {self.system}"


def this_machine() -> Machine:
    """Return what this machine is; the last core is for what is measured."""
    can_bind = hasattr(os, "sched_getaffinity") and shutil.which("taskset")
    cores = sorted(os.sched_getaffinity(0)) if can_bind else []
    return Machine(
        cpu=processor(),
        cores=len(cores) or os.cpu_count() or 1,
        system=f"{platform.system()} {platform.machine()}",
        core=cores[-1] if cores else None,
    )


def keep_off(machine: Machine) -> None:
    """Keep this process, and what it starts unbound, off the core that is measured on."""
    if machine.core is not None and machine.cores > 1:
        os.sched_setaffinity(0, os.sched_getaffinity(0) - {machine.core})


def processor() -> str:
    """Return the processor's name, where the system tells it."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

"""Describes the machine, without which results mean nothing."""

from __future__ import annotations

import datetime
import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from posewire.usable_cores import usable_cores

__all__ = ["Machine", "load_average", "this_machine"]


@dataclass(frozen=True)
class Machine:
    """Where and when the results were measured.

    Attributes:
        processor: its name.
        cores: number of cores that this process may use.
        load: one-minute load average when the benchmark began; results of a busy machine mean little.
        device: of the networks.
        python: version.
        posewire: version.
        date: UTC.
    """

    processor: str
    cores: int
    load: float
    device: str
    python: str
    posewire: str
    date: str

    def as_line(self) -> str:
        """One human-readable line."""
        return (
            f"{self.date}, posewire {self.posewire}, {self.processor}, {self.cores} cores, {self.device}, "
            f"Python {self.python}; load at the start {self.load:.1f}"
        )


def this_machine(device: str, load: float | None = None) -> Machine:
    """This machine.

    Args:
        device: of the networks, in words.
        load: load average when the benchmark began; None: the current one.
    """
    return Machine(
        processor=_processor(),
        cores=usable_cores(),
        load=load_average() if load is None else load,
        device=device,
        python=platform.python_version(),
        posewire=metadata.version("posewire"),
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )


def load_average() -> float:
    """The one-minute load average."""
    return os.getloadavg()[0]


def _processor() -> str:
    """The processor's name, as Linux reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()

"""`posewire bench all`: runs every benchmark of docs/benchmarks.md, one after another, and makes its tables."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posewire_benchmark.tables import TABLES

__all__ = ["CPU_SUITE", "Step", "run_suite", "tables_of"]

_SMALL = "--size 854x480 --people 2"
# Cameras that use about half of two slow cores: if they filled the machine by themselves, the ratio would mean nothing.
_HOSTILE = f"{_SMALL} --streams 4 --fps 3 --seconds 6 --warm-up 1 --rounds 3"

_END_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Step:
    """One command.

    Attributes:
        name: of its JSON file.
        title: of its section.
        kind: of its table, a key of `TABLES`.
        arguments: of `posewire bench`.
    """

    name: str
    title: str
    kind: str
    arguments: str

    @property
    def command(self) -> str:
        """As a user would type it."""
        return f"posewire bench {self.arguments}"


CPU_SUITE = (
    Step(
        "service",
        "What the service costs",
        "service",
        "service --frames 150 --rounds 3 --memory-frames 600 --memory-streams 50",
    ),
    Step(
        "service-480p",
        "What the networks cost",
        "service",
        f"service {_SMALL} --detector auto --frames 60 --rounds 1 --memory-frames 0",
    ),
    Step("camera", "One camera", "load", f"load {_SMALL} --detector auto --fps 25"),
    Step(
        "camera-stretched",
        "One camera, whose detector may rest every other frame",
        "load",
        f"load {_SMALL} --detector auto --fps 25 --max-detect-every 2",
    ),
    Step(
        "capacity",
        "How many cameras",
        "capacity",
        f"load {_SMALL} --detector auto --fps 5 --seconds 5 --warm-up 1.5 --find-max --latency-bound-ms 200",
    ),
    Step(
        "scaling",
        "Many cameras against one",
        "scaling",
        f"load {_SMALL} --detector auto --streams 8 --fps 60 --seconds 6 --warm-up 2 --rounds 2 --scaling",
    ),
    Step(
        "bare",
        "What one server process carries, however fast its networks",
        "capacity",
        f"load {_SMALL} --without-networks --fps 25 --seconds 5 --warm-up 1.5 --find-max --latency-bound-ms 100",
    ),
    Step("overload", "Twice the load", "overload", f"load {_SMALL} --detector auto --fps 20 --warm-up 2 --overload"),
    *(
        Step(f"hostile-{kind}", f"Beside a hostile client: {kind}", "hostile", f"load {_HOSTILE} --hostile {kind}")
        for kind in ("garbage", "flood", "stall", "reconnect")
    ),
    Step("roofline", "The networks against the machine", "roofline", "roofline --batches 1,4,16"),
    Step("runtimes", "Which runtime is the fastest", "runtimes", "roofline --runtimes --batches 1,2"),
)
"""About twelve minutes on two cores."""


def run_suite(steps: tuple[Step, ...], folder: Path) -> list[str]:
    """Run each command in its own process, so that a failure does not affect the others.

    Args:
        steps: the commands, in order.
        folder: where a JSON file per command and, unless all failed, `tables.md` are written; old ones are removed.

    Returns:
        Names of the steps that failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    failed = []
    for step in steps:
        began_s = time.monotonic()
        print(f"{step.command} ...", file=sys.stderr, flush=True)
        words = [*shlex.split(step.arguments), "--json", str(folder / f"{step.name}.json")]
        (folder / f"{step.name}.json").unlink(missing_ok=True)
        status = _run([sys.executable, "-P", "-m", "posewire_benchmark", *words])
        if status:
            failed.append(step.name)
        print(f"  {'failed' if status else 'done'} in {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    (folder / "tables.md").unlink(missing_ok=True)
    if tables := tables_of(steps, folder):
        (folder / "tables.md").write_text(tables, encoding="utf-8")
    return failed


def _run(command: list[str]) -> int:
    """Run a command and return its exit status. If we end, it gets time to stop its server and delete its files."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        return process.wait()
    finally:
        process.terminate()
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tables_of(steps: tuple[Step, ...], folder: Path) -> str:
    """The tables of the results in `folder`, as in docs/benchmarks.md."""
    sections = []
    for step in steps:
        path = folder / f"{step.name}.json"
        if path.is_file():
            figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            sections.append(f"## {step.title}\n\n`{step.command}`\n\n{TABLES[step.kind](figures)}\n")
    return "\n".join(sections)

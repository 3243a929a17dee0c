"""How long the tests here run: `POSEWIRE_STRESS=long` for the long forms."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["SCALE"]


@dataclass(frozen=True)
class Scale:
    """Sizes of the tests.

    Attributes:
        fuzz_cases: calls with made-up contents, of each kind.
        cycles: streams opened and closed.
        frames: of a stream whose memory is watched.
        hostile_rounds: times that each hostile client has its go.
        disasters: kills, drains and pauses of the server under running clients.
        proxy_faults: connections that the proxy spoils.
    """

    fuzz_cases: int
    cycles: int
    frames: int
    hostile_rounds: int
    disasters: int
    proxy_faults: int


_SHORT = Scale(fuzz_cases=150, cycles=40, frames=60, hostile_rounds=2, disasters=2, proxy_faults=4)
_LONG = Scale(fuzz_cases=50_000, cycles=1000, frames=20_000, hostile_rounds=40, disasters=25, proxy_faults=100)

SCALE = _LONG if os.environ.get("POSEWIRE_STRESS") == "long" else _SHORT
if "POSEWIRE_FUZZ_CASES" in os.environ:
    SCALE = Scale(**(vars(SCALE) | {"fuzz_cases": int(os.environ["POSEWIRE_FUZZ_CASES"])}))

"""What an observer of a tracker gets to see: how the poses of one frame found their tracks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from posewire_server.tracking.instances import Floats, Ints, TrackedPeople
from posewire_server.tracking.queue import Queue

__all__ = ["Observation", "Observer"]


@dataclass(frozen=True)
class Observation:
    """The matching of one frame, just before its people join Q. Nothing in it may be written to.

    Attributes:
        given: `n` poses as they came, without ids.
        rows: `(m,)` which of them took part in the matching; the others were dropped before.
        similarities: `(m, t)` M_sim.
        track_ids: `(t,)` the columns' tracks.
        ids: `(m,)` ids given; 0: dropped, because a flow box's person was found in another box, or because too few
            joints are confident for a fresh id.
        queue: Q, moved to this frame.
    """

    given: TrackedPeople
    rows: npt.NDArray[np.intp]
    similarities: Floats
    track_ids: Ints
    ids: Ints
    queue: Queue


Observer: TypeAlias = Callable[[Observation], None]

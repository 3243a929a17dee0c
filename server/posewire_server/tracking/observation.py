"""What an observer of a tracker sees: how the poses of one frame were matched to tracks."""

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
    """The matching of one frame, just before its people join Q. It must not be modified.

    Attributes:
        given: the `n` poses passed to `Tracker.update`, without ids.
        rows: `(m,)` indices of those that took part in the matching; the others were dropped before.
        similarities: `(m, t)` M_sim.
        track_ids: `(t,)` the track of each column.
        ids: `(m,)` the assigned ids; 0: dropped, because the person of a flow box was found in another box, or because
            too few joints are confident for a new id.
        queue: Q, moved to this frame.
    """

    given: TrackedPeople
    rows: npt.NDArray[np.intp]
    similarities: Floats
    track_ids: Ints
    ids: Ints
    queue: Queue


Observer: TypeAlias = Callable[[Observation], None]

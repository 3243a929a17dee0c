"""What a generator records about each frame, as arrays that are passed between processes in files."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from posewire.v1 import track_pb2

__all__ = ["DROP_REASONS", "FAILURE_REASONS", "FRAME", "STAGES", "Outcome", "Records"]

STAGES = ("queue", "decode", "detect", "flow", "pose", "track", "total")
"""The server's stages, as in the message Timings."""

FRAME = np.dtype(
    [
        ("stream", np.int32),
        ("number", np.int32),
        ("due_s", np.float64),
        ("noticed_s", np.float64),
        ("sent_s", np.float64),
        ("answered_s", np.float64),
        ("given_up_s", np.float64),
        ("outcome", np.int8),
        ("reason", np.int8),
        ("people", np.int16),
        ("stages_ms", np.float32, (len(STAGES),)),
    ]
)
"""One frame. Times are those of `time.monotonic`, which all processes of a machine share; NaN: it never happened.

    due_s       when the camera captured it
    noticed_s   when the generator noticed that it was due
    sent_s      when gRPC had accepted it; it blocks the sender while the server does not read
    answered_s  when the answer arrived
    given_up_s  when waiting for the answer ended, if there was none
    outcome     an `Outcome`
    reason      of a drop or a failure, the number in the protocol
"""

Records = npt.NDArray[np.void]
"""`(n,)` of `FRAME`."""


class Outcome(IntEnum):
    """What became of a frame."""

    OPEN = 0
    """No answer."""
    TRACKED = 1
    FAILED = 2
    DROPPED = 3


DROP_REASONS: dict[int, str] = {
    int(number): name.removeprefix("DROP_REASON_").lower().replace("_", "-")
    for name, number in track_pb2.DropReason.items()
}
"""Numbers in the protocol and their names."""
FAILURE_REASONS: dict[int, str] = {
    int(number): name.removeprefix("FAILURE_REASON_").lower().replace("_", "-")
    for name, number in track_pb2.FailureReason.items()
}
"""Likewise."""

"""What a generator notes of each frame, as arrays: they go from process to process in files."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from posewire.v1 import track_pb2

__all__ = ["DROP_REASONS", "FAILURE_REASONS", "FRAME", "STAGES", "Outcome", "Records"]

STAGES = ("queue", "decode", "detect", "flow", "pose", "track", "total")
"""The server's stages, as in the wire's Timings."""

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
"""One frame. Times are those of `time.monotonic`, which the processes of a machine share; NaN: it never happened.

    due_s       when the camera had it
    noticed_s   when the generator saw that it was due
    sent_s      when gRPC had taken it; it holds the sender back while the server does not read
    answered_s  when the answer had come
    given_up_s  when nobody waited for an answer any more, of a frame that has none
    outcome     an `Outcome`
    reason      of a drop or a failure, the wire's number
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
"""The wire's numbers and what they are called."""
FAILURE_REASONS: dict[int, str] = {
    int(number): name.removeprefix("FAILURE_REASON_").lower().replace("_", "-")
    for name, number in track_pb2.FailureReason.items()
}
"""Likewise."""

"""Inputs and outputs of the stages: frames, detections, flow fields.

All coordinates are in pixels of the frame: x right, y down, pixel centres at integers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from posewire.array_types import Float32s, Image
from posewire_models.device_transfer import Uploaded, to_host, upload

__all__ = ["Detections", "FlowField", "Frame"]

T = TypeVar("T")


class Frame:
    """A picture, and what the stages have derived from it so far. Thread-safe.

    Args:
        pixels: uint8 `(h, w, 3)` RGB, or a complete tensor of that shape on the device where it was decoded. It must
            not change afterwards, since derived data is kept.
        taken_s: when it was taken, in seconds on a clock that all frames of a video share; None: unknown.

    Raises:
        ValueError: `pixels` has another type or shape.
    """

    def __init__(self, pixels: Image | Tensor, taken_s: float | None = None) -> None:
        on_device = isinstance(pixels, Tensor)
        if pixels.dtype not in (np.uint8, torch.uint8) or pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
            raise ValueError(f"a frame is uint8 (height, width, 3) RGB; got {pixels.dtype} {tuple(pixels.shape)}")
        self.size: tuple[int, int] = (pixels.shape[0], pixels.shape[1])
        """(height, width)."""
        self.taken_s = taken_s
        self._pixels = None if on_device else cast("Image", pixels)
        self._uploads = {pixels.device: Uploaded(pixels)} if isinstance(pixels, Tensor) else {}
        self._turn = threading.Lock()
        self._derived: dict[Hashable, Any] = {}

    @property
    def pixels(self) -> Image:
        """uint8 `(h, w, 3)` RGB; for a frame that was decoded on a device, they are fetched at the first call."""
        with self._turn:
            if self._pixels is None:
                (decoded,) = self._uploads.values()
                self._pixels = to_host(decoded.here().contiguous()).numpy()
            return self._pixels

    @property
    def home(self) -> torch.device:
        """Where the pixels are available without a copy: the CPU, or the device on which they were decoded."""
        return torch.device("cpu") if self._pixels is not None else next(iter(self._uploads))

    def on(self, device: torch.device) -> Tensor:
        """The pixels as a uint8 tensor `(h, w, 3)` on `device`, uploaded at the first call; do not write to it.

        On a GPU, use it on the calling thread's current stream: only that stream waits for the upload.
        """
        if device.type != "cuda" and device not in self._uploads:
            # from_numpy rejects negative strides (a flipped view) and warns of read-only memory.
            return self.derived(
                ("pixels", device),
                lambda: torch.from_numpy(np.require(self.pixels, requirements=["C", "W"])).to(device),
            )
        self.send_to(device)
        return self._uploads[device].here()

    def send_to(self, device: torch.device) -> None:
        """Start the upload to a GPU ahead of the first use there; does nothing for a CPU."""
        if device.type == "cuda":
            with self._turn:
                if device not in self._uploads:
                    self._uploads[device] = upload(cast("Image", self._pixels), device)

    def derived(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` returned at the first call with `key`, such as a resized copy that the next flow field needs too.

        Two threads that ask for the same key at the same time may both make it; the results are equivalent.
        """
        if key not in self._derived:
            self._derived[key] = make()
        return cast(T, self._derived[key])

    def has(self, key: Hashable) -> bool:
        """Whether `derived` has a result for `key`."""
        return key in self._derived


@dataclass(frozen=True, eq=False)
class Detections:
    """People found in one frame.

    Attributes:
        boxes: `(n, 4)` float32 xyxy in frame pixels.
        scores: `(n,)` float32 in 0..1.
    """

    boxes: Float32s
    scores: Float32s

    def __post_init__(self) -> None:
        if self.boxes.ndim != 2 or self.boxes.shape[1] != 4 or self.scores.shape != self.boxes.shape[:1]:
            raise ValueError(
                f"detections are boxes (n, 4) and scores (n,); got {self.boxes.shape} and {self.scores.shape}"
            )

    def __len__(self) -> int:
        return len(self.boxes)

    @staticmethod
    def none() -> Detections:
        """An empty set of detections."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


@dataclass(frozen=True, eq=False)
class FlowField:
    """Motion from the previous to the current frame: point p moves to `p + at(p)`.

    Attributes:
        grid: `(rows, columns, 2)` float32 dx, dy in frame pixels, on an even grid over the frame: each cell is a
            rectangle of `h / rows` by `w / columns` pixels, and its value is that at the rectangle's centre.
        frame_size: (height, width) of the frame.

    Raises:
        ValueError: the grid has another shape, or values that are not finite.
    """

    grid: Float32s
    frame_size: tuple[int, int]

    def __post_init__(self) -> None:
        if self.grid.ndim != 3 or self.grid.shape[2] != 2 or not self.grid.size:
            raise ValueError(f"a flow grid is (rows, columns, 2); got {self.grid.shape}")
        if not np.isfinite(self.grid).all():
            raise ValueError("the flow grid holds values that are not finite")

    def at(self, points: Float32s) -> Float32s:
        """Displacements `(m, 2)` of points `(m, 2)`, sampled bilinearly; points outside get the value at the border.

        Raises:
            ValueError: the points have another shape, or are not finite.
        """
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"points are (m, 2); got {points.shape}")
        if not np.isfinite(points).all():
            raise ValueError("points hold values that are not finite; leave those points out")
        rows, columns, _ = self.grid.shape
        height, width = self.frame_size
        cells = (points + 0.5) * np.array((columns / width, rows / height), np.float32) - 0.5
        last = np.array((columns - 1, rows - 1))
        cells = np.minimum(np.maximum(cells, 0), last)
        low = cells.astype(np.intp)
        (left, top), (right, bottom) = low.T, np.minimum(low + 1, last).T
        along_x, along_y = (cells - low).T[..., None]
        upper = self.grid[top, left] * (1 - along_x) + self.grid[top, right] * along_x
        lower = self.grid[bottom, left] * (1 - along_x) + self.grid[bottom, right] * along_x
        return np.asarray(upper * (1 - along_y) + lower * along_y, np.float32)

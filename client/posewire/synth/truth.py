"""The exact ground truth of a synthetic frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s
from posewire.synth.figure import PARTS
from posewire.synth.layout import Layout, dense_flow, displace

__all__ = ["FrameTruth", "SceneFrame", "TrueFlow"]


class TrueFlow:
    """The true flow between two frames, exact at any point; implements `at` like every flow field in posewire."""

    def __init__(self, before: Layout, after: Layout) -> None:
        self._before, self._after = before, after

    def at(self, points: Float32s) -> Float32s:
        """Displacements `(m, 2)` of the surfaces at `points` `(m, 2)`, pixels of the previous frame.

        Points outside the picture move like the surface at the nearest pixel.
        """
        height, width = self._before.labels.shape
        nearest = np.rint(points).astype(np.intp)
        labels = self._before.labels[np.clip(nearest[:, 1], 0, height - 1), np.clip(nearest[:, 0], 0, width - 1)]
        return displace(self._before, self._after, points.astype(np.float64), labels).astype(np.float32)


@dataclass(frozen=True, eq=False)
class FrameTruth:
    """The people in one frame. Rows are the people who are at least partly within the picture, even if hidden.

    Attributes:
        index: of the frame.
        time_s: of the frame, from the start of the scene.
        ids: `(n,)` int64, starting at 1; people who leave and return keep their ids.
        joints: `(n, 19, 3)` float32 in the order of `posewire.joints.NANO19`: x, y and visibility: 0 outside the
            picture (x, y are still correct), 1 hidden by an object, a person or the person's own body, 2 visible.
        boxes: `(n, 4)` float32 xyxy around the whole body, hidden parts included, clipped to the picture.
        full_boxes: `(n, 4)` the same, not clipped.
        head_boxes: `(n, 4)` xyxy around the whole head, hidden parts included, not clipped.
        visible_fraction: `(n,)` float32: visible pixels of the body, as a share of those it has without occlusion.
        joint_flow: `(n, 19, 2)` float32: this frame's joints minus those of the previous frame; 0 in the first frame.
    """

    index: int
    time_s: float
    ids: npt.NDArray[np.int64]
    joints: Float32s
    boxes: Float32s
    full_boxes: Float32s
    head_boxes: Float32s
    visible_fraction: Float32s
    joint_flow: Float32s
    layout: Layout = field(repr=False)
    _before: Callable[[], Layout] = field(repr=False)

    @cached_property
    def instances(self) -> npt.NDArray[np.uint16]:
        """`(h, w)` the id of the person visible at each pixel; 0 where there is none."""
        labels = self.layout.labels
        return np.where(labels > 0, (labels - 1) // np.uint16(len(PARTS)) + 1, 0).astype(np.uint16)

    @cached_property
    def flow_field(self) -> TrueFlow:
        """The flow from the previous frame to this one at any point; no motion in the first frame."""
        return TrueFlow(self._before(), self.layout)

    @property
    def flow(self) -> Float32s:
        """The dense flow `(h, w, 2)`: point p of the previous frame is at p + flow[p] here; 0 in the first frame."""
        return self._dense[0]

    @property
    def flow_valid(self) -> npt.NDArray[np.bool_]:
        """`(h, w)` where a point of the previous frame is still visible in this one; everywhere in the first frame."""
        return self._dense[1]

    @cached_property
    def _dense(self) -> tuple[Float32s, npt.NDArray[np.bool_]]:
        return dense_flow(self._before(), self.layout)

    def seen(self, at_least: float = 0.2) -> npt.NDArray[np.bool_]:
        """`(n,)` whose visible fraction is at least `at_least`: the people a tracker can be expected to find."""
        return self.visible_fraction >= at_least


@dataclass(frozen=True, eq=False)
class SceneFrame:
    """A frame and its ground truth.

    Attributes:
        image: `(h, w, 3)` uint8 RGB.
        truth: of the frame.
    """

    image: npt.NDArray[np.uint8]
    truth: FrameTruth

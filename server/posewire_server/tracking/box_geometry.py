"""Geometry of boxes: overlap, non-maximum suppression, the box around joints. `(n, 4)` float32 x1, y1, x2, y2."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from posewire_server.tracking.instances import Boxes, BoxSource, Floats

__all__ = ["areas", "around_joints", "best_first", "box_nms", "greedy_nms", "iou"]


# Share of width and height that is added to the box around joints (paper, section 4.2).
_EXTENSION = 0.15
# Priority of each `BoxSource`, indexed by its number: lower goes first.
_RANKS = np.zeros(len(BoxSource) + 1, dtype=np.int8)
_RANKS[[BoxSource.CALLER, BoxSource.DETECTOR, BoxSource.FLOW]] = 0, 1, 2


def areas(xyxy: Floats) -> Floats:
    """Areas `(n,)` of boxes `(n, 4)`; 0 for inverted boxes."""
    sides = np.maximum(xyxy[:, 2:] - xyxy[:, :2], 0.0)
    return np.asarray(sides[:, 0] * sides[:, 1], dtype=np.float32)


def iou(a: Floats, b: Floats) -> Floats:
    """Intersection over union `(n, m)` of boxes `(n, 4)` with boxes `(m, 4)`; 0 where the union is empty."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])  # (n, m, 2)
    sides = np.maximum(sides, 0.0)
    intersection = sides[..., 0] * sides[..., 1]
    union = areas(a)[:, None] + areas(b) - intersection
    overlap: Floats = intersection / np.maximum(union, np.finfo(np.float32).tiny)
    return overlap


def around_joints(joints: Floats, confident: npt.NDArray[np.bool_]) -> Floats:
    """Boxes `(n, 4)` around the confident joints, extended by 15 %, half of it on each side.

    Args:
        joints: `(n, k, 2)` positions.
        confident: `(n, k)` which joints to include; at least one in each row.
    """
    low = np.where(confident[..., None], joints, np.inf).min(axis=1)
    high = np.where(confident[..., None], joints, -np.inf).max(axis=1)
    margin = (high - low) * (_EXTENSION / 2)
    return np.concatenate([low - margin, high + margin], axis=1).astype(np.float32)


def best_first(
    sources: npt.NDArray[np.int8],
    scores: Floats,
    coordinates: Callable[[], Floats],
    *,
    preferred: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.intp]:
    """Order `(n,)` of boxes by priority: the caller's boxes first, then the detector's, then flow boxes.

    Within one source, higher scores come first. The outcome does not depend on the order of the input.

    Args:
        sources: `(n,)` values of `BoxSource`.
        scores: `(n,)`.
        coordinates: returns `(n, c)` values that break ties; called only if there are ties.
        preferred: `(n,)` which boxes come before all others, whatever their source; None: none.
    """
    ranks = _RANKS[sources]
    if preferred is not None:
        ranks = ranks + len(_RANKS) * ~preferred
    order = np.lexsort((-scores, ranks))  # the last key counts most
    ranks, scores = ranks[order], scores[order]
    if ((ranks[1:] == ranks[:-1]) & (scores[1:] == scores[:-1])).any():
        order = order[np.lexsort((*coordinates()[order].T[::-1], -scores, ranks))]
    return order


def box_nms(boxes: Boxes, iou_threshold: float, keep_at_most: int) -> Boxes:
    """Box NMS over detector and flow boxes together (step c).

    The paper does not say how a flow box is scored against a detector's. Here a detector's box wins over a flow box
    that overlaps it, since it fits the whole person and not only the visible joints; among boxes from one source the
    score decides. Flow boxes thus fill the gaps that the detector leaves. A caller's box wins over all others and is
    never dropped for an overlap, since each one stands for a person.

    The outcome does not depend on the order of the boxes.
    """
    order = best_first(boxes.sources, boxes.scores, lambda: np.column_stack((boxes.xyxy, boxes.track_ids)))
    boxes = boxes[order]
    overlaps = (iou(boxes.xyxy, boxes.xyxy) > iou_threshold) & (boxes.sources != BoxSource.CALLER)
    return boxes[greedy_nms(overlaps).nonzero()[0][:keep_at_most]]


def greedy_nms(suppresses: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Greedy non-maximum suppression, for boxes and poses.

    Args:
        suppresses: `(n, n)`, best first: `[i, j]` says whether i, ranked better than j, suppresses it.

    Returns:
        `(n,)` mask of those that are not suppressed by a better-ranked survivor.
    """
    alive = [True] * len(suppresses)
    better, worse = suppresses.nonzero()
    for one, other in zip(better.tolist(), worse.tolist(), strict=True):  # row by row: the best first
        if one < other and alive[one]:
            alive[other] = False
    return np.array(alive, dtype=np.bool_)

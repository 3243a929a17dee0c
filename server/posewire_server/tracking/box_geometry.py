"""Geometry of boxes: overlap, non-maximum suppression, the box around joints. `(n, 4)` float32 x1, y1, x2, y2."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from posewire_server.tracking.instances import Boxes, BoxSource, Floats

__all__ = ["areas", "around_joints", "best_first", "box_nms", "greedy_nms", "iou"]


# Of each `BoxSource`, by its number: who goes first.
_RANKS = np.zeros(len(BoxSource) + 1, dtype=np.int8)
_RANKS[[BoxSource.CALLER, BoxSource.DETECTOR, BoxSource.FLOW]] = 0, 1, 2


def areas(xyxy: Floats) -> Floats:
    """Areas `(n,)` of boxes `(n, 4)`; 0 where a box is inside out."""
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


def around_joints(joints: Floats, confident: npt.NDArray[np.bool_], extension: float = 0.15) -> Floats:
    """Boxes `(n, 4)` around the confident joints, longer by `extension` in all (half of it on each side).

    Args:
        joints: `(n, k, 2)` positions.
        confident: `(n, k)` which joints to take; at least one in each row.
        extension: share of the length that is added (paper, section 4.2: 15 %).
    """
    low = np.where(confident[..., None], joints, np.inf).min(axis=1)
    high = np.where(confident[..., None], joints, -np.inf).max(axis=1)
    margin = (high - low) * (extension / 2)
    return np.concatenate([low - margin, high + margin], axis=1).astype(np.float32)


def best_first(
    sources: npt.NDArray[np.int8],
    scores: Floats,
    coordinates: Callable[[], Floats],
    *,
    preferred: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.intp]:
    """Who wins where two boxes hold one person: indices `(n,)`, a caller's boxes first, then a detector's, then flow's.

    Among those of one source the higher score comes first. The outcome does not depend on the order of the boxes.

    Args:
        sources: `(n,)` values of `BoxSource`.
        scores: `(n,)`.
        coordinates: gives `(n, c)` values that settle ties; called only if there are any.
        preferred: `(n,)` who comes before all others, whatever the source; None: nobody does.
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
    that overlaps it, since it fits the whole person and not only the joints that were seen; among boxes of one kind the
    score decides. A flow box thus does what it is there for: it fills the gaps that the detector left. A caller's box
    wins over all others and is never dropped for an overlap: callers know whom they mean.

    The outcome does not depend on the order of the boxes.
    """
    boxes = boxes[best_first(boxes.sources, boxes.scores, lambda: boxes.xyxy)]
    overlaps = (iou(boxes.xyxy, boxes.xyxy) > iou_threshold) & (boxes.sources != BoxSource.CALLER)
    return boxes[greedy_nms(overlaps).nonzero()[0][:keep_at_most]]


def greedy_nms(suppresses: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Greedy non-maximum suppression, of boxes and of poses alike.

    Args:
        suppresses: `(n, n)`, best first: `[i, j]` says whether i, ranked better than j, suppresses it.

    Returns:
        `(n,)` mask of those that no better-ranked survivor suppresses.
    """
    alive = [True] * len(suppresses)
    better, worse = suppresses.nonzero()
    for one, other in zip(better.tolist(), worse.tolist(), strict=True):  # row by row: the best first
        if one < other and alive[one]:
            alive[other] = False
    return np.array(alive, dtype=np.bool_)

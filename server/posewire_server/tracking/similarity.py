"""The four similarities of section 3.2 between new poses and the tracks in the queue Q (step e)."""

from __future__ import annotations

import numpy as np

from posewire_server.tracking import box_geometry
from posewire_server.tracking.config import Similarity
from posewire_server.tracking.instances import Floats, Ints
from posewire_server.tracking.oks import Poses, oks
from posewire_server.tracking.queue import Queue

__all__ = ["similarity_matrix"]


def similarity_matrix(
    boxes: Floats, poses: Poses, queue: Queue, sigmas: Floats, similarity: Similarity
) -> tuple[Floats, Ints]:
    """M_sim between the new poses J^k and the tracks in Q.

    S_Multi-flow compares with the instances of all frames in Q, the other three only with those of the newest frame.
    The similarity of a track is that of its most similar instance.

    The paper moves the new joints back by F_{k->l}; here the joints of every instance in Q have been moved forward to
    frame k, field by field, so that one flow field per frame is enough for the whole queue.

    Args:
        boxes: `(n, 4)` of the new poses.
        poses: the new poses.
        queue: Q, already moved to their frame.
        sigmas: `(k,)` OKS constants.
        similarity: which of the four.

    Returns:
        Similarities `(n, t)` in 0..1, and the track ids `(t,)`, ascending.
    """
    rows = slice(None) if similarity is Similarity.MULTI_FLOW else queue.newest
    ids = queue.ids[rows]
    if not len(ids):
        return np.zeros((len(boxes), 0), dtype=np.float32), ids
    of_instances = _to_instances(boxes, poses, queue, rows, sigmas, similarity)  # (n, instances)
    by_track = ids.argsort(kind="stable")
    ids = ids[by_track]
    first = np.concatenate(([True], ids[1:] != ids[:-1])).nonzero()[0]
    return np.maximum.reduceat(of_instances[:, by_track], first, axis=1), ids[first]


def _to_instances(
    boxes: Floats, poses: Poses, queue: Queue, rows: slice, sigmas: Floats, similarity: Similarity
) -> Floats:
    """Similarity `(n, m)` of new poses to the instances in some rows of Q."""
    tracked = queue.boxes[rows]
    if similarity is Similarity.BBOX:
        return box_geometry.iou(boxes, tracked)
    positions = queue.joints[rows, :, :2] if similarity is Similarity.POSE else queue.moved[rows]
    return oks(poses, Poses(positions, queue.confident[rows], box_geometry.areas(tracked)), sigmas)

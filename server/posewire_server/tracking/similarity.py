"""The four similarities of section 3.2 between new poses and the tracks in the queue Q (step e)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from posewire_server.tracking import boxes as box_geometry
from posewire_server.tracking.config import Similarity, TrackerConfig
from posewire_server.tracking.instances import Floats, Instances, Ints, TrackedPeople
from posewire_server.tracking.oks import Poses, oks

__all__ = ["as_poses", "counting_joints", "to_tracks"]


def counting_joints(joints: Floats, config: TrackerConfig) -> npt.NDArray[np.bool_]:
    """Which joints `(n, k)` of `(n, k, 3)` have a score that counts."""
    return np.asarray(joints[..., 2] >= config.joint_score_threshold)


def as_poses(people: TrackedPeople, positions: Floats, config: TrackerConfig) -> Poses:
    """The people as OKS sees them, with their joints at `positions` `(n, k, 2)`."""
    return Poses(positions, counting_joints(people.joints, config), box_geometry.areas(people.boxes.xyxy))


def to_tracks(
    people: TrackedPeople, queue: Sequence[Instances], sigmas: Floats, config: TrackerConfig
) -> tuple[Floats, Ints]:
    """M_sim between the new poses J^k and the tracks in Q.

    S_Multi-flow compares with the instances of all frames in Q, the other three with the newest frame alone. A track
    that has instances in several frames is as similar as the most similar of them.

    The paper moves the new joints back by F_{k->l}; here the joints of every instance in Q have been moved forward to
    frame k, field by field, so that one flow field a frame serves the whole queue.

    Args:
        people: the new poses; their ids are not looked at.
        queue: oldest frame first.
        sigmas: `(k,)` OKS constants.
        config: the similarity and the threshold of the joints that count.

    Returns:
        Similarities `(n, t)` in 0..1, and the track ids `(t,)`, ascending.
    """
    frames = queue if config.similarity is Similarity.MULTI_FLOW else queue[-1:]
    if not sum(len(instances.people) for instances in frames):
        return np.zeros((len(people), 0), dtype=np.float32), np.zeros(0, dtype=np.int64)
    of_instances = _to_instances(people, frames, sigmas, config)  # (n, instances of all frames)
    by_id = np.concatenate([instances.people.ids for instances in frames])
    order = np.argsort(by_id, kind="stable")
    ids, first = np.unique(by_id[order], return_index=True)
    return np.maximum.reduceat(of_instances[:, order], first, axis=1), ids


def _to_instances(people: TrackedPeople, frames: Sequence[Instances], sigmas: Floats, config: TrackerConfig) -> Floats:
    """Similarity `(n, m)` of new people with the `m` instances of some frames of Q, in one call for all of them."""
    if config.similarity is Similarity.BBOX:
        return box_geometry.iou(people.boxes.xyxy, np.concatenate([each.people.boxes.xyxy for each in frames]))
    stay = config.similarity is Similarity.POSE
    tracked = [as_poses(each.people, each.people.joints[..., :2] if stay else each.moved, config) for each in frames]
    return oks(
        as_poses(people, people.joints[..., :2], config),
        Poses(*(np.concatenate(parts) for parts in zip(*tracked, strict=True))),
        sigmas,
    )

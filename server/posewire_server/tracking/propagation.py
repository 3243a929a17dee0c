"""Joint propagation (section 3.1): the flow carries joints to the next frame, boxes around them find people again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from posewire_server.tracking import boxes as box_geometry
from posewire_server.tracking.config import TrackerConfig
from posewire_server.tracking.flow_field import FlowField
from posewire_server.tracking.instances import Boxes, BoxSource, Floats, Instances, TrackedPeople
from posewire_server.tracking.similarity import counting_joints

__all__ = ["flow_boxes", "move", "velocities"]


# Share of the newest displacement in a velocity: one frame's jitter counts half, that of two frames ago an eighth.
_NEWEST_SHARE = 0.5


def move(queue: Sequence[Instances], flow: FlowField) -> list[Instances]:
    """The instances of Q with their joints moved to the coming frame: one look-up in the flow for the whole queue.

    A person who is not in the newest frame is mostly hidden behind another, and the flow at its joints is the other's:
    it would be carried away by whoever walks in front. So lost people coast at the velocity at which they were last
    seen. On scenes of people who cross, with true flow, this leaves a quarter of the identity switches that plain flow
    leaves. (The paper says nothing of the flow at hidden joints.)

    Args:
        queue: oldest frame first.
        flow: F_{k-1->k}.
    """
    if not queue:
        return []
    points = np.concatenate([instances.moved for instances in queue])  # (sum of n, k, 2)
    displacements = flow.at(points.reshape(-1, 2)).reshape(points.shape)

    ids = np.concatenate([instances.people.ids for instances in queue])
    velocities = np.concatenate([instances.velocities for instances in queue])
    lost = ~np.isin(ids, queue[-1].people.ids)
    for track in np.unique(ids[lost]):
        rows = np.flatnonzero(ids == track)
        displacements[rows] = velocities[rows[-1]]  # the last row is the last frame in which it was seen

    moved = np.split(points + displacements, np.cumsum([len(instances.people) for instances in queue[:-1]]))
    return [replace(instances, moved=joints) for instances, joints in zip(queue, moved, strict=True)]


def velocities(people: TrackedPeople, newest: Instances | None, config: TrackerConfig) -> Floats:
    """How people move, `(n, 2)` in pixels a frame: the mean over joints, smoothed; 0 for a new person.

    Args:
        people: the people of frame k, with their ids.
        newest: the instances of frame k-1.
        config: the threshold of the joints that count.
    """
    velocities = np.zeros((len(people), 2), dtype=np.float32)
    if newest is None:
        return velocities
    _, now, then = np.intersect1d(people.ids, newest.people.ids, assume_unique=True, return_indices=True)
    joints, earlier = people.joints[now], newest.people.joints[then]
    common = (counting_joints(joints, config) & counting_joints(earlier, config))[..., None]  # (p, k, 1)
    displacement = ((joints - earlier)[..., :2] * common).sum(axis=1) / np.maximum(common.sum(axis=1), 1)
    before = newest.velocities[then]
    share = np.where(before.any(axis=1, keepdims=True), _NEWEST_SHARE, 1.0)  # the first displacement counts in full
    velocities[now] = before + share * (displacement - before)
    return velocities


def flow_boxes(newest: Instances, config: TrackerConfig) -> Boxes:
    """B_flow: boxes around the moved joints of the frame before, extended by 15 %.

    A person is carried on if the pose network was sure enough of it, and for at most L_Q runs of the detector in a row
    that missed it: without an end, a pose seen in a coat stand would stand there for ever.

    Args:
        newest: the instances of the frame before, already moved to this frame.
        config: `propagation_threshold`, the gate; the threshold of the joints that count; L_Q.

    Returns:
        One box a carried person, with the score of the box that it was last found in.
    """
    people = newest.people
    counts = counting_joints(people.joints, config)
    carried = (
        (people.joints[..., 2].mean(axis=1) >= config.propagation_threshold)
        & (newest.unconfirmed < config.queue_length)
        & (counts.sum(axis=1) >= 2)  # one joint spans no box
    )
    xyxy = box_geometry.around_joints(newest.moved[carried], counts[carried])
    return Boxes.of(xyxy, people.boxes.scores[carried], BoxSource.FLOW, people.ids[carried])

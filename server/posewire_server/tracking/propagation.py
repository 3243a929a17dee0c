"""Joint propagation (section 3.1): the flow carries joints to the next frame, boxes around them find people again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from posewire_server.tracking import boxes as box_geometry
from posewire_server.tracking.config import TrackerConfig
from posewire_server.tracking.flow_field import FlowField
from posewire_server.tracking.instances import Boxes, BoxSource, Instances
from posewire_server.tracking.similarity import counting_joints

__all__ = ["flow_boxes", "move"]


def move(queue: Sequence[Instances], flow: FlowField) -> list[Instances]:
    """The instances of Q with their joints moved along by the newest flow field: one look-up for the whole queue."""
    if not queue:
        return []
    sizes = [len(instances.people) for instances in queue]
    points = np.concatenate([instances.moved for instances in queue])  # (sum of sizes, k, 2)
    moved = points + flow.at(points.reshape(-1, 2)).reshape(points.shape)
    return [
        replace(instances, moved=joints)
        for instances, joints in zip(queue, np.split(moved, np.cumsum(sizes[:-1])), strict=True)
    ]


def flow_boxes(newest: Instances, config: TrackerConfig) -> Boxes:
    """B_flow: boxes around the moved joints of the frame before, extended by 15 %.

    A person is carried on if the pose network was sure enough of it, and for at most L_Q runs of the detector in a row
    that missed it: without an end, a pose seen in a coat stand would stand there for ever.

    Args:
        newest: the instances of the frame before, already moved to this frame.
        config: the gate for propagation, the threshold of the joints that count, L_Q.

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
    return Boxes.of(xyxy, people.boxes.scores[carried], BoxSource.FLOW)

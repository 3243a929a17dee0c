"""Joint propagation (section 3.1): the flow carries joints to the next frame, boxes around them find people again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from posewire_server.tracking import box_geometry
from posewire_server.tracking.config import TrackerConfig
from posewire_server.tracking.flow_field import FlowField
from posewire_server.tracking.instances import Boxes, BoxSource, Floats, Ints, TrackedPeople
from posewire_server.tracking.queue import Queue

__all__ = ["credit", "flow_boxes", "move", "scores_hold", "velocities"]

# Share of the newest displacement in a velocity: one frame's jitter counts half, that of two frames ago an eighth.
_NEWEST_SHARE = 0.5
# Runs of the detector that may miss a person, for each that found it.
_CREDIT_A_FIND = 2
# Mean joint score of a pose that holds, as a share of the person's best in Q.
_SCORE_HELD = 0.75


def move(queue: Queue, flow: FlowField, elapsed: float = 1.0) -> Queue:
    """The instances of Q with their joints moved to the coming frame: one look-up in the flow for the whole queue.

    A person who is not in the newest frame is mostly hidden behind another, and the flow at its joints is the other's:
    it would be carried away by whoever walks in front. So lost people coast at the velocity at which they were last
    seen. On scenes of people who cross, with true flow, this leaves a quarter of the identity switches that plain flow
    leaves. (The paper says nothing of the flow at hidden joints.)

    Args:
        queue: its `moved` joints in pixels of frame k-1.
        flow: F_{k-1->k}.
        elapsed: intervals of the camera between the two frames.
    """
    if not len(queue):
        return queue
    displacements = flow.at(queue.moved.reshape(-1, 2)).reshape(queue.moved.shape)
    coasting = np.where(queue.lost[:, None, None], elapsed * queue.velocities[:, None], displacements)
    return replace(queue, moved=queue.moved + coasting)


def velocities(people: TrackedPeople, confident: npt.NDArray[np.bool_], queue: Queue, elapsed: float = 1.0) -> Floats:
    """How people move, `(n, 2)` in pixels an interval of the camera: mean over joints, smoothed; 0 for a new person.

    Who was lost is compared with where they were last seen. Where no joint is confident both then and now, nobody knows
    how a person has moved, and the velocity stays.

    Args:
        people: the people of frame k, with their ids.
        confident: `(n, k)` which of their joints are.
        queue: Q up to frame k-1.
        elapsed: intervals between the two frames.
    """
    velocities = np.zeros((len(people), 2), dtype=np.float32)
    then, now = queue.last_seen(people.ids)
    intervals = (queue.time - queue.times[then] + elapsed)[:, None].astype(np.float32)  # (p, 1)
    common = (confident[now] & queue.confident[then])[..., None]  # (p, k, 1)
    displacement = (people.joints[now, :, :2] - queue.joints[then, :, :2]) * common
    displacement = displacement.sum(axis=1) / (np.maximum(common.sum(axis=1), 1) * intervals)
    before = queue.velocities[then]
    share = np.where(before.any(axis=1, keepdims=True), _NEWEST_SHARE, 1.0)  # the first displacement counts in full
    share = np.where(common.any(axis=1), share, 0.0)
    velocities[now] = before + share * (displacement - before)
    return velocities


def credit(people: TrackedPeople, queue: Queue, queue_length: int, *, detector_ran: bool) -> Ints:
    """How many runs of the detector in a row may yet miss each person, `(n,)`, until the flow carries it no further.

    Each run that finds a person adds two, up to L_Q; each that misses it takes one. So somebody who was seen for long
    is carried through a long gap, and what the detector took for a person once is soon gone. While somebody is lost, Q
    counts the runs that miss it (`Queue.pushed`).

    Args:
        people: the people of frame k, with their ids.
        queue: Q up to frame k-1.
        queue_length: L_Q.
        detector_ran: whether the detector ran on frame k.
    """
    before = np.zeros(len(people), dtype=np.int64)
    then, now = queue.last_seen(people.ids)
    before[now] = queue.credit[then]
    missed = people.boxes.sources == BoxSource.FLOW
    return np.where(missed, before - int(detector_ran), np.minimum(before + _CREDIT_A_FIND, queue_length))


def scores_hold(people: TrackedPeople, queue: Queue) -> bool:
    """Whether the flow carries everybody well: nobody of frame k-1 is missing, no pose is much worse than it was.

    Args:
        people: the people of frame k, with their ids.
        queue: Q up to frame k-1.
    """
    if not np.isin(queue.ids[queue.newest], people.ids).all():
        return False
    rows, places = (queue.ids[:, None] == people.ids).nonzero()
    best = np.zeros(len(people), dtype=np.float32)
    np.maximum.at(best, places, queue.joints[rows, :, 2].mean(axis=1))
    return bool((people.joints[..., 2].mean(axis=1) >= _SCORE_HELD * best).all())


def flow_boxes(queue: Queue, flow: FlowField | None, config: TrackerConfig) -> Boxes:
    """B_flow: the joints of frame k-1 moved by the flow, and boxes around them, extended by 15 %.

    A person is carried on if the pose network was sure enough of it, and as long as it has credit with the detector:
    without an end, a pose seen in a coat stand would stand there for ever.

    Args:
        queue: Q up to frame k-1.
        flow: F_{k-1->k}; None: everybody is thought to stand still.
        config: `propagation_threshold`, the gate.

    Returns:
        One box a carried person, with the score of the box that it was last found in.
    """
    newest = queue.newest
    confident = queue.confident[newest]
    carried = (
        (queue.joints[newest, :, 2].mean(axis=1) >= config.propagation_threshold)
        & (queue.credit[newest] > 0)
        & (confident.sum(axis=1) >= 2)  # one joint spans no box
    )
    joints = queue.moved[newest][carried]
    if flow is not None:
        joints = joints + flow.at(joints.reshape(-1, 2)).reshape(joints.shape)
    xyxy = box_geometry.around_joints(joints, confident[carried])
    return Boxes.of(xyxy, queue.box_scores[newest][carried], BoxSource.FLOW, queue.ids[newest][carried])

"""Joint propagation (section 3.1): the flow moves joints to the next frame, and boxes around them recover people."""

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

# Weight of the newest displacement in a velocity: its jitter counts half, that of two frames earlier an eighth.
_NEWEST_SHARE = 0.5
# How many detector runs may miss a person for each run that found them.
_CREDIT_A_FIND = 2
# A pose's mean joint score has held up if it is at least this share of the person's best in Q.
_SCORE_HELD = 0.75


def move(queue: Queue, flow: FlowField, elapsed: float) -> Queue:
    """Q with the joints of its instances moved to the next frame: one lookup in the flow for the whole queue.

    A person who is missing from the newest frame is mostly hidden behind another one, and the flow at their joints is
    that of the person in front, who would carry them away. So lost people coast at their last observed velocity. In
    scenes of crossing people, with true flow, this leaves a quarter of the identity switches that plain flow leaves.
    (The paper does not discuss the flow at hidden joints.)

    Args:
        queue: its `moved` joints in pixels of frame k-1.
        flow: F_{k-1->k}.
        elapsed: frame intervals of the camera between the two frames.
    """
    if not len(queue):
        return queue
    displacements = flow.at(queue.moved.reshape(-1, 2)).reshape(queue.moved.shape)
    coasting = np.where(queue.lost[:, None, None], elapsed * queue.velocities[:, None], displacements)
    return replace(queue, moved=queue.moved + coasting)


def velocities(people: TrackedPeople, confident: npt.NDArray[np.bool_], queue: Queue, elapsed: float) -> Floats:
    """Velocities `(n, 2)` in pixels per frame interval: mean over the joints, smoothed; 0 for a new person.

    People who were lost are compared with where they were last seen. A person without a joint that is confident both
    then and now keeps their velocity.

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
    """How many more consecutive detector runs may miss each person, `(n,)`, before the flow stops carrying them.

    Each run that finds a person adds two, up to L_Q; each run that misses them takes one away. So a person who was seen
    for a long time is carried through a long gap, and a single false detection is soon gone. While a person is lost, Q
    counts the runs that miss them (`Queue.pushed`).

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
    """Whether the flow carries everybody well: nobody of frame k-1 is missing, and no score has fallen by much.

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
    """B_flow: boxes around the joints of frame k-1 moved by the flow, extended by 15 %.

    A person is carried on if the pose network was sure enough of them, and as long as they have credit with the
    detector: without that limit, a pose seen in a coat stand would stay there forever.

    Args:
        queue: Q up to frame k-1.
        flow: F_{k-1->k}; None: everybody is assumed to stand still.
        config: for its `propagation_threshold`.

    Returns:
        One box per carried person, with the score of the box in which they were last found.
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

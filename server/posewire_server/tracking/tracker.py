"""Algorithm 1: flow-based pose tracking of one stream.

The networks are not here. One frame goes

    detections, flow = detector(I^k), flow_net(I^{k-1}, I^k)
    boxes = tracker.unify(detections, flow)      # steps a to c
    joints = pose_net(I^k, boxes)                # step d
    people = tracker.update(boxes, joints)       # steps e to g

Source: Xiao, Wu, Wei, "Simple Baselines for Human Pose Estimation and Tracking", ECCV 2018, section 3 and Algorithm 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from posewire_server.tracking import box_geometry
from posewire_server.tracking.config import LEAST_ELAPSED, LONGEST_GAP, MOST_ELAPSED, TrackerConfig
from posewire_server.tracking.detector_schedule import DetectorSchedule
from posewire_server.tracking.flow_field import FlowField
from posewire_server.tracking.instances import Boxes, BoxSource, Floats, Ints, TrackedPeople
from posewire_server.tracking.matching import match_greedily
from posewire_server.tracking.observation import Observation, Observer
from posewire_server.tracking.oks import Poses, oks
from posewire_server.tracking.propagation import credit, flow_boxes, move, scores_hold, velocities
from posewire_server.tracking.queue import Queue
from posewire_server.tracking.similarity import similarity_matrix

__all__ = ["FOUNDING_JOINTS", "Tracker", "TrackerState"]

FOUNDING_JOINTS = 3
"""A pose needs so many confident joints for a fresh id: what shows fewer is mostly a thing, not somebody new."""

# Aspect ratios that differ by less than this are the same view at another size: widths and heights are rounded.
_SAME_SHAPE = 0.02


@dataclass(frozen=True)
class TrackerState:
    """All that a tracker remembers: enough to go on elsewhere."""

    queue: Queue
    identities: int
    schedule: DetectorSchedule


class Tracker:
    """Gives the people of one stream ids that stay theirs.

    Ids start at 1 in every tracker, are never given twice, and do not depend on the order in which people are passed.

    Args:
        config: see `TrackerConfig`.
        sigmas: `(k,)` OKS constants of the joint set in use.
        observer: gets to see how the poses of each frame are matched; None: nobody looks.
    """

    def __init__(self, config: TrackerConfig, sigmas: npt.ArrayLike, observer: Observer | None = None) -> None:
        self.config = config
        self._observer = observer
        self._sigmas = np.asarray(sigmas, dtype=np.float32)
        self._queue = Queue.empty(len(self._sigmas))  # Q
        self._identities = 0
        self._schedule = DetectorSchedule(config.detect_every)
        self._detector_ran = False
        self._elapsed = 0.0  # since the newest frame of Q
        self._deferred: Callable[[], Queue] | None = None  # what Q becomes; see catch_up

    @property
    def detector_due(self) -> bool:
        """Whether the detector should run on the coming frame (`detect_every`).

        When the scores of the poses do not hold between two runs, the next one is brought forward, to half the time:
        so the detector never runs more than twice as often as it was told to.
        """
        self.catch_up()
        return self._schedule.due

    @property
    def identities(self) -> int:
        """Ids given out so far; the newest id."""
        return self._identities

    @property
    def detect_every(self) -> int:
        """The detector runs on every n-th frame; the configuration's n, until it is set."""
        return self._schedule.every

    @detect_every.setter
    def detect_every(self, every: int) -> None:
        self._schedule = replace(self._schedule, every=every)

    def unify(self, detections: Boxes | None, flow: FlowField | None, elapsed: float = 1.0) -> Boxes:
        """Steps a to c: the boxes in which the poses of this frame are to be estimated. Once a frame, before `update`.

        Args:
            detections: B_det of this frame; None when the detector did not run.
            flow: F_{k-1->k}; None when there is none, as on the first frame: then everybody is thought to stand still.
            elapsed: time since the frame before, in intervals of the camera; above 1 where frames are missing. Below
                0.5 counts as 0.5, above a million as a million.

        Returns:
            At most `max_people` boxes, best first; none where nobody is expected.
        """
        self.catch_up()
        elapsed = min(max(elapsed, LEAST_ELAPSED), MOST_ELAPSED)
        self._elapsed += elapsed
        if self._elapsed > 1.0:
            self._queue = self._queue.without_expired(self._elapsed, self.config.queue_length)

        # a. B_det, without the boxes that the detector doubts.
        self._detector_ran = detections is not None
        self._schedule = self._schedule.after_frame(ran=self._detector_ran)
        unified = Boxes.empty()
        if detections is not None:
            unified = detections[detections.scores >= self.config.box_score_threshold]

        # b. B_flow: joints of frame k-1 moved by the flow, boxes around them.
        if self.config.propagation:
            unified += flow_boxes(self._queue, flow, self.config)

        # Every instance in Q follows the new flow field, so that S_Multi-flow needs no other.
        if flow is not None:
            self._deferred = partial(move, self._queue, flow, elapsed)

        # c. B_unified: box NMS over both.
        return box_geometry.box_nms(unified, self.config.box_nms_iou, self.config.max_people)

    def update(self, boxes: Boxes, joints: Floats) -> TrackedPeople:
        """Steps e to g: give ids to the poses of this frame and remember them. Once a frame, after `unify`.

        Args:
            boxes: the boxes in which the poses were estimated.
            joints: J^k, `(n, k, 3)` x, y, score, a pose a box.

        Returns:
            The people, in the order given, with their ids. Left out are poses that pose NMS drops, those in the
            detector's boxes that are no known person and have fewer than `FOUNDING_JOINTS` confident joints, and flow
            boxes in which the pose network found nobody, or whose person was found in another box.

        Raises:
            ValueError: the shape of `joints` fits neither the boxes nor the joint set.
        """
        if joints.shape != (len(boxes), len(self._sigmas), 3):
            raise ValueError(
                f"joints have the shape {joints.shape}; {len(boxes)} boxes and {len(self._sigmas)} joints a pose need "
                f"({len(boxes)}, {len(self._sigmas)}, 3)"
            )
        self.catch_up()
        given = TrackedPeople.without_ids(boxes, joints, self.config.joint_score_threshold)
        # Poses take part in an order of their own, not the caller's, so that a permutation of the input changes no id
        # even where similarities tie.
        poses = self._poses(given)
        founding = (poses.confident.sum(axis=1) >= FOUNDING_JOINTS) | (boxes.sources == BoxSource.CALLER)
        rows = _canonical_order(given, founding)
        rows = rows[self._confirmed(given)[rows]]
        people, poses = given[rows], poses.take(rows)
        kept = self._pose_nms(people, poses)
        rows, people, poses = rows[kept], people[kept], poses.take(kept)

        # e. M_sim: similarity of each pose in J^k with each track in Q.
        similarities, track_ids = similarity_matrix(
            people.boxes.xyxy, poses, self._queue, self._sigmas, self.config.similarity
        )

        # f. Greedy matching; an unmatched pose gets a fresh id, if it is one.
        ids = self._assign_ids(people.boxes, founding[rows], similarities, track_ids)
        if self._observer is not None:
            self._observer(Observation(given, rows, similarities, track_ids, ids, self._queue))
        (kept,) = ids.nonzero()
        kept = kept[rows[kept].argsort()]  # back in the order given
        people, poses = replace(people, ids=ids)[kept], poses.take(kept)

        # g. P^k joins Q; the oldest frame leaves.
        self._deferred = partial(self._push, people, poses, self._elapsed, detector_ran=self._detector_ran)
        self._elapsed = 0.0
        return people

    def resize(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        """The frames have another size from now on.

        If the shape is the same they show the same, and Q is told in the new pixels. Of another shape nobody knows what
        it shows, so Q is emptied and the detector is due: new ids are better than wrong ones.

        Args:
            before: (height, width) of the frame that was given last.
            after: likewise, of the next one.
        """
        self.catch_up()
        y, x = after[0] / before[0], after[1] / before[1]
        if abs(x / y - 1.0) < _SAME_SHAPE:
            self._queue = self._queue.resized(x, y)
        else:
            self.forget()

    def forget_after(self, elapsed: float) -> None:
        """Forget everybody if so much time has passed that where somebody stands does not say any more who it is.

        Once a frame, before `detector_due` is asked.

        Args:
            elapsed: as for `unify`; above `LONGEST_GAP` it is too long.
        """
        if elapsed > LONGEST_GAP:
            self.forget()

    def forget(self) -> None:
        """Nothing that was seen counts any more: everybody gets a new id, and the detector is due."""
        self.catch_up()
        self._queue = self._queue.without_instances()
        self._schedule = replace(self._schedule, frames=None)

    def catch_up(self) -> None:
        """Do now what the next step would begin with.

        What `unify` and `update` do to Q is not needed for their results, so it waits: call this while the pose network
        runs, and when the results have been sent. Nothing but time depends on it.
        """
        if self._deferred is not None:
            self._queue = self._deferred()
            self._deferred = None

    def state(self) -> TrackerState:
        """A snapshot; the arrays are not written to afterwards."""
        self.catch_up()
        return TrackerState(self._queue, self._identities, self._schedule)

    def restore(self, state: TrackerState) -> None:
        """Go on from a snapshot of a tracker with the same joint set."""
        self._queue, self._deferred, self._elapsed = state.queue, None, 0.0
        self._identities = state.identities
        self._schedule = replace(state.schedule, every=self.detect_every)

    def _poses(self, people: TrackedPeople) -> Poses:
        confident = people.joints[..., 2] >= self.config.joint_score_threshold
        return Poses(people.joints[..., :2], confident, box_geometry.areas(people.boxes.xyxy))

    def _confirmed(self, people: TrackedPeople) -> npt.NDArray[np.bool_]:
        """All but the flow boxes in which the pose network found nobody: flow only guesses that someone is there."""
        found = people.joints[..., 2].mean(axis=1) >= self.config.propagation_threshold
        return np.asarray(found | (people.boxes.sources != BoxSource.FLOW))

    def _pose_nms(self, people: TrackedPeople, poses: Poses) -> npt.NDArray[np.intp]:
        """Pose NMS: of two poses that are the same by OKS, as two boxes on one person give, the first stays.

        As in box NMS, a detector's box wins over a flow box, then the score decides; but a pose that shows enough
        joints for a fresh id wins over one that does not: that one might be nobody. A caller's box always stays.
        """
        suppresses = oks(poses, poses, self._sigmas) > self.config.pose_nms_oks
        suppresses &= people.boxes.sources != BoxSource.CALLER
        return box_geometry.greedy_nms(suppresses).nonzero()[0]

    def _assign_ids(self, boxes: Boxes, founding: npt.NDArray[np.bool_], similarities: Floats, track_ids: Ints) -> Ints:
        """Step f: ids `(n,)` by M_sim `(n, t)` with the tracks `track_ids` `(t,)`; 0: this is nobody.

        Poses without a similar track get fresh ids where `founding` `(n,)` is true.

        A flow box is there to carry on the one track that it comes from, where the detector missed the person. So poses
        in other boxes choose first; then a flow box's pose gets its own track if that is still free, or is dropped: it
        is a second pose on somebody, not somebody new.
        """
        ids = np.zeros(len(boxes), dtype=np.int64)
        from_flow = boxes.sources == BoxSource.FLOW
        (found,), (carried,) = (~from_flow).nonzero(), from_flow.nonzero()
        first = match_greedily(similarities[found], self.config.match_threshold)
        ids[found[first.pairs[:, 0]]] = track_ids[first.pairs[:, 1]]
        if len(carried):
            free = first.unmatched_tracks
            own = boxes.track_ids[carried, None] == track_ids[free]
            second = match_greedily(
                np.where(own, similarities[np.ix_(carried, free)], -1.0), self.config.match_threshold
            )
            ids[carried[second.pairs[:, 0]]] = track_ids[free[second.pairs[:, 1]]]
        fresh = found[first.unmatched_poses]
        fresh = fresh[founding[fresh]]
        ids[fresh] = self._identities + 1 + np.arange(len(fresh))
        self._identities += len(fresh)
        return ids

    def _push(self, people: TrackedPeople, poses: Poses, elapsed: float, *, detector_ran: bool) -> Queue:
        """Step g: Q with the people of this frame. Where they are worse seen than before, the detector runs sooner."""
        if not detector_ran and not scores_hold(people, self._queue):
            self._schedule = replace(self._schedule, hastened=True)
        return self._queue.pushed(
            people,
            poses.confident,
            velocities(people, poses.confident, self._queue, elapsed),
            credit(people, self._queue, self.config.queue_length, detector_ran=detector_ran),
            self.config.queue_length,
            elapsed,
            detector_ran=detector_ran,
        )


def _canonical_order(people: TrackedPeople, founding: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """Indices `(n,)`: first who is `founding` `(n,)`, then by source of the box, then by falling score.

    Coordinates settle ties: no order given matters.
    """

    def coordinates() -> Floats:
        n, k, _ = people.joints.shape
        return np.concatenate((people.boxes.xyxy, people.joints.reshape(n, 3 * k)), axis=1)

    # Not by score alone: where few joints are confident, it is the mean of the best ones, and misleadingly high.
    return box_geometry.best_first(people.boxes.sources, people.scores, coordinates, preferred=founding)

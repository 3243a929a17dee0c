"""Algorithm 1: flow-based pose tracking of one stream.

The networks are run by the caller. For each frame:

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
"""A pose in a detector's box needs this many confident joints to get a new id: with fewer, it is mostly an object."""

# Aspect ratios that differ by less than this count as equal, since widths and heights are rounded.
_SAME_SHAPE = 0.02


@dataclass(frozen=True)
class TrackerState:
    """Everything that a tracker remembers: enough to continue elsewhere."""

    queue: Queue
    identities: int
    schedule: DetectorSchedule


class Tracker:
    """Gives the people of one stream persistent ids.

    Ids start at 1 in every tracker, are never reused, and do not depend on the order in which people are passed.

    Args:
        config: see `TrackerConfig`.
        sigmas: `(k,)` OKS constants of the joint set in use.
        observer: called with the matching of each frame; None: there is none.
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
        self._deferred: Callable[[], Queue] | None = None  # computes what Q becomes, see `catch_up`

    @property
    def detector_due(self) -> bool:
        """Whether the detector should run on the next frame (`detect_every`).

        If the scores of the poses fall between two runs, the next run is brought forward to half the interval. So the
        detector never runs more than twice as often as `detect_every` says.
        """
        self.catch_up()
        return self._schedule.due

    @property
    def identities(self) -> int:
        """Number of ids given out so far, which is also the newest id."""
        return self._identities

    @property
    def detect_every(self) -> int:
        """The detector runs on every n-th frame. Starts as the configured value, and may be set."""
        return self._schedule.every

    @detect_every.setter
    def detect_every(self, every: int) -> None:
        self._schedule = replace(self._schedule, every=every)

    def unify(self, detections: Boxes | None, flow: FlowField | None, elapsed: float = 1.0) -> Boxes:
        """Steps a to c: the boxes in which to estimate the poses of this frame. Call it once per frame, first.

        Args:
            detections: B_det of this frame; None if the detector did not run.
            flow: F_{k-1->k}; None if there is none, as on the first frame: everybody is then assumed to stand still.
            elapsed: time since the previous frame, in frame intervals of the camera; above 1 if frames are missing. It
                is clipped to 0.5..1,000,000.

        Returns:
            At most `max_people` boxes, best first; none if nobody is expected.
        """
        self.catch_up()
        elapsed = min(max(elapsed, LEAST_ELAPSED), MOST_ELAPSED)
        self._elapsed += elapsed
        if self._elapsed > 1.0:
            self._queue = self._queue.without_expired(self._elapsed, self.config.queue_length)

        # a. B_det, without boxes of low score.
        self._detector_ran = detections is not None
        self._schedule = self._schedule.after_frame(ran=self._detector_ran)
        unified = Boxes.empty()
        if detections is not None:
            unified = detections[detections.scores >= self.config.box_score_threshold]

        # b. B_flow: boxes around the joints of frame k-1 moved by the flow.
        if self.config.propagation:
            unified += flow_boxes(self._queue, flow, self.config)

        # Every instance in Q is moved by the new flow field, so that S_Multi-flow needs no other field.
        if flow is not None:
            self._deferred = partial(move, self._queue, flow, elapsed)

        # c. B_unified: box NMS over both.
        return box_geometry.box_nms(unified, self.config.box_nms_iou, self.config.max_people)

    def update(self, boxes: Boxes, joints: Floats) -> TrackedPeople:
        """Steps e to g: give ids to the poses of this frame and remember them. Call it once per frame, after `unify`.

        Args:
            boxes: the boxes in which the poses were estimated.
            joints: J^k, `(n, k, 3)` x, y, score, one pose per box.

        Returns:
            The people, in the order given, with their ids. Left out are poses dropped by pose NMS, poses in the
            detector's boxes that match no track and have fewer than `FOUNDING_JOINTS` confident joints, and flow boxes
            in which the pose network found nobody or whose person was found in another box.

        Raises:
            ValueError: the shape of `joints` fits neither the boxes nor the joint set.
        """
        if joints.shape != (len(boxes), len(self._sigmas), 3):
            raise ValueError(
                f"joints have the shape {joints.shape}; {len(boxes)} boxes with {len(self._sigmas)} joints each need "
                f"({len(boxes)}, {len(self._sigmas)}, 3)"
            )
        self.catch_up()
        given = TrackedPeople.without_ids(boxes, joints, self.config.joint_score_threshold)
        # Poses are matched in a canonical order, not the caller's, so that a permutation of the input changes no id
        # even where similarities tie. `rows` are indices into `given`.
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

        # f. Greedy matching; an unmatched pose gets a new id if it shows enough joints.
        ids = self._assign_ids(people.boxes, founding[rows], similarities, track_ids)
        if self._observer is not None:
            self._observer(Observation(given, rows, similarities, track_ids, ids, self._queue))
        (kept,) = ids.nonzero()
        kept = kept[rows[kept].argsort()]  # back to the order given
        people, poses = replace(people, ids=ids)[kept], poses.take(kept)

        # g. P^k joins Q; the oldest frame leaves.
        self._deferred = partial(self._push, people, poses, self._elapsed, detector_ran=self._detector_ran)
        self._elapsed = 0.0
        return people

    def resize(self, before: tuple[int, int], after: tuple[int, int]) -> None:
        """Tell the tracker that frames have another size from now on.

        With the same aspect ratio the view is the same, and Q is scaled to the new size. Otherwise the view is unknown,
        so Q is emptied and the detector is due: new ids are better than wrong ones.

        Args:
            before: (height, width) of the last frame.
            after: (height, width) of the next frame.
        """
        self.catch_up()
        y, x = after[0] / before[0], after[1] / before[1]
        if abs(x / y - 1.0) < _SAME_SHAPE:
            self._queue = self._queue.resized(x, y)
        else:
            self.forget()

    def forget_after(self, elapsed: float) -> None:
        """Forget everybody after a gap so long that positions no longer identify people.

        Call it once per frame, before reading `detector_due`.

        Args:
            elapsed: as for `unify`; the limit is `LONGEST_GAP`.
        """
        if elapsed > LONGEST_GAP:
            self.forget()

    def forget(self) -> None:
        """Forget everybody: all people get new ids, and the detector is due."""
        self.catch_up()
        self._queue = self._queue.without_instances()
        self._schedule = replace(self._schedule, frames=None)

    def catch_up(self) -> None:
        """Do the deferred work that the next step would otherwise begin with.

        The changes that `unify` and `update` make to Q are not needed for their results, so they are deferred. Call
        this while the pose network runs, and after the results have been sent; it saves time and changes no result.
        """
        if self._deferred is not None:
            self._queue = self._deferred()
            self._deferred = None

    def state(self) -> TrackerState:
        """A snapshot; its arrays are not modified later."""
        self.catch_up()
        return TrackerState(self._queue, self._identities, self._schedule)

    def restore(self, state: TrackerState) -> None:
        """Continue from a snapshot of a tracker with the same joint set."""
        self._queue, self._deferred, self._elapsed = state.queue, None, 0.0
        self._identities = state.identities
        self._schedule = replace(state.schedule, every=self.detect_every)

    def _poses(self, people: TrackedPeople) -> Poses:
        confident = people.joints[..., 2] >= self.config.joint_score_threshold
        return Poses(people.joints[..., :2], confident, box_geometry.areas(people.boxes.xyxy))

    def _confirmed(self, people: TrackedPeople) -> npt.NDArray[np.bool_]:
        """Mask of all poses but those in flow boxes in which the pose network found nobody."""
        found = people.joints[..., 2].mean(axis=1) >= self.config.propagation_threshold
        return np.asarray(found | (people.boxes.sources != BoxSource.FLOW))

    def _pose_nms(self, people: TrackedPeople, poses: Poses) -> npt.NDArray[np.intp]:
        """Pose NMS: rows `(p,)` that stay. Of nearly equal poses, as when one person has two boxes, the first stays.

        People are in canonical order: as in box NMS, a detector's box wins over a flow box, then the score decides; but
        a pose with enough joints for a new id wins over one without. A caller's box always stays.
        """
        suppresses = oks(poses, poses, self._sigmas) > self.config.pose_nms_oks
        suppresses &= people.boxes.sources != BoxSource.CALLER
        return box_geometry.greedy_nms(suppresses).nonzero()[0]

    def _assign_ids(self, boxes: Boxes, founding: npt.NDArray[np.bool_], similarities: Floats, track_ids: Ints) -> Ints:
        """Step f: ids `(n,)` from M_sim `(n, t)` with the tracks `track_ids` `(t,)`; 0: the pose is dropped.

        Unmatched poses get new ids where `founding` `(n,)` is true.

        A flow box can only continue the track that it came from, where the detector missed the person. So poses in
        other boxes are matched first; then the pose of a flow box gets its own track if that is still free, and is
        dropped otherwise, since it is a second pose of somebody and not somebody new.
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
        """Step g: Q with the people of this frame. If the scores of poses have fallen, the detector runs sooner."""
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
    """Indices `(n,)`: first those that are `founding` `(n,)`, then by source of the box, then by decreasing score.

    Coordinates, then the tracks of flow boxes, break ties, so that the order of the input does not matter.
    """

    def coordinates() -> Floats:
        n, k, _ = people.joints.shape
        return np.column_stack((people.boxes.xyxy, people.joints.reshape(n, 3 * k), people.boxes.track_ids))

    # Not by score alone: if few joints are confident, the score is the mean of the best ones, and misleadingly high.
    return box_geometry.best_first(people.boxes.sources, people.scores, coordinates, preferred=founding)

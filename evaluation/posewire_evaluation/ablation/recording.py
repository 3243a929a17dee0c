"""Runs the networks on a video once; afterwards their outputs come from the cache."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s
from posewire.joints import JointSet
from posewire_evaluation.ablation.cache import CachedDetections, KnownPoses, NetworkCache, digest_of
from posewire_evaluation.ablation.networks import Networks, Stages
from posewire_evaluation.ablation.videos import Video
from posewire_evaluation.errors import EvaluationError
from posewire_models.frames import Detections, FlowField, Frame
from posewire_server.streams.frame_clock import FrameClock
from posewire_server.tracking import Boxes, BoxSource

__all__ = ["LoadedOnce", "NetworkTime", "RecordedVideo", "keep_poses", "record"]


_BATCH = 4


@dataclass
class NetworkTime:
    """How much the networks had to compute.

    Attributes:
        seconds: time that they ran.
        frames: frames on which the detector ran, plus those on which the flow ran.
        poses: number of boxes in which the pose network ran.
    """

    seconds: float = 0.0
    frames: int = 0
    poses: int = 0

    def add(self, other: NetworkTime) -> None:
        """Add the other to this one."""
        self.seconds += other.seconds
        self.frames += other.frames
        self.poses += other.poses


class LoadedOnce:
    """The chosen networks, loaded when they are first needed."""

    def __init__(self, networks: Networks) -> None:
        self.choice = networks

    @cached_property
    def stages(self) -> Stages:
        """The networks, ready to run; raises `EvaluationError` if they cannot be loaded."""
        try:
            return self.choice.load()
        except ValueError as error:
            raise EvaluationError(f"the networks {self.choice.name!r} cannot be loaded: {error}") from error


def record(video: Video, networks: LoadedOnce, cache: NetworkCache) -> NetworkTime:
    """Run detector and flow on a video unless their outputs are in the cache.

    Raises:
        VideoError: the video cannot be read; the message names file and frame.
        OSError: the cache cannot be written.
    """
    spent = NetworkTime()
    if not cache.has_detections(video.name, _digest(video, networks.choice, "detector")):
        _record_detections(video, networks, cache, spent)
    if not cache.has_flow(video.name, _digest(video, networks.choice, "flow")):
        _record_flow(video, networks, cache, spent)
    return spent


def _digest(video: Video, networks: Networks, stage: str) -> str:
    return digest_of(stage, video.digest, networks.identities[stage])


def _record_detections(video: Video, networks: LoadedOnce, cache: NetworkCache, spent: NetworkTime) -> None:
    found: list[Detections] = []
    frames, detector = video.frames(), networks.stages.detector
    size, times_s = (0, 0), list[float]()
    while batch := list(islice(frames, _BATCH)):
        start = time.perf_counter()
        found += detector(batch)
        spent.seconds += time.perf_counter() - start
        size = batch[0].size
        times_s += [frame.taken_s or 0.0 for frame in batch]
    spent.frames += len(found)
    stored = CachedDetections(
        np.concatenate([each.boxes for each in found]),
        np.concatenate([each.scores for each in found]),
        np.array([len(each) for each in found], np.int64),
        np.array(times_s),
        size,
    )
    cache.store_detections(video.name, _digest(video, networks.choice, "detector"), stored)


def _record_flow(video: Video, networks: LoadedOnce, cache: NetworkCache, spent: NetworkTime) -> None:
    with cache.storing_flow(video.name, _digest(video, networks.choice, "flow")) as store:
        frames, flow_net = video.frames(), networks.stages.flow
        before = next(frames)
        while batch := list(islice(frames, _BATCH)):
            start = time.perf_counter()
            fields = flow_net(list(zip([before, *batch[:-1]], batch, strict=True)))
            spent.seconds += time.perf_counter() - start
            spent.frames += len(batch)
            before = batch[-1]
            for flow in fields:
                store(flow.grid)


def keep_poses(video: Video, networks: Networks, cache: NetworkCache, new_poses: KnownPoses) -> None:
    """Add poses to the cache; another process may have estimated them."""
    if len(new_poses):
        digest = _digest(video, networks, "pose")
        stored = cache.poses(video.name, digest, len(networks.joint_set))
        stored.merge(new_poses)
        cache.store_poses(video.name, digest, stored)


@dataclass(eq=False)
class RecordedVideo:
    """The `StageOutputs` of a video: detections and flow from the cache, and poses too once they were estimated.

    The boxes in which a tracker needs poses depend on its earlier frames, so they cannot be known beforehand. The pose
    network therefore runs only for boxes that are not in the cache.

    Attributes:
        video: whose outputs these are.
        networks: that made them; loaded only if a pose is missing.
        cache: where `record` stored the detections and the flow.
        spent: how much the pose network had to compute.
        waited_s: seconds spent on missing poses: loading and running the network, and reading pictures.
    """

    video: Video
    networks: LoadedOnce
    cache: NetworkCache
    spent: NetworkTime = field(default_factory=NetworkTime)
    waited_s: float = 0.0

    def __post_init__(self) -> None:
        self._found = self.cache.detections(self.video.name, self._digest("detector"))
        self._poses = self.cache.poses(self.video.name, self._digest("pose"), len(self.joint_set))
        self.new_poses = KnownPoses(len(self.joint_set))
        self._frames: Iterator[Frame] = iter(())
        self._next_frame = len(self)

    @property
    def joint_set(self) -> JointSet:
        """What the joints of a pose mean."""
        return self.networks.choice.joint_set

    def __len__(self) -> int:
        return len(self._found.counts)

    def detections(self, frame: int) -> Boxes:
        """B_det of a frame."""
        boxes, scores = self._found.of(frame)
        return Boxes.of(boxes, scores, BoxSource.DETECTOR)

    def flow(self, frame: int) -> FlowField:
        """The flow from frame - 1 to `frame`."""
        return FlowField(self._fields[frame - 1].astype(np.float32), self._found.frame_size)

    def elapsed(self, frame: int) -> float:
        """Time since the previous frame, in frame intervals of the camera."""
        return self._elapsed[frame]

    def poses(self, frame: int, xyxy: Float32s) -> Float32s:
        """Joints `(n, k, 3)` in the boxes `(n, 4)`; missing ones are estimated and remembered."""
        missing = self._poses.missing(frame, xyxy)
        if len(missing):
            asked = time.perf_counter()
            picture, stages = self._frame(frame), self.networks.stages
            start = time.perf_counter()
            (joints,) = stages.pose([picture], [xyxy[missing]])
            end = time.perf_counter()
            self.spent.seconds += end - start
            self.waited_s += end - asked
            self.spent.poses += len(missing)
            for known in (self._poses, self.new_poses):
                known.add(frame, xyxy[missing], joints)
        return self._poses.get(frame, xyxy)

    @cached_property
    def _elapsed(self) -> list[float]:
        """As the service computes it for a file: from a clock that has seen the frames so far."""
        clock = FrameClock(may_drop=False)
        elapsed, before_s = [], None
        for time_s in self._found.times_s.tolist():
            now_s = clock.received(time_s, time_s)
            elapsed.append(clock.elapsed(before_s, now_s))
            before_s = now_s
        return elapsed

    @cached_property
    def _fields(self) -> npt.NDArray[np.float16]:
        return self.cache.flow(self.video.name, self._digest("flow"))

    def _digest(self, stage: str) -> str:
        return _digest(self.video, self.networks.choice, stage)

    def _frame(self, index: int) -> Frame:
        """A frame. Trackers go forward through a video, so it is usually decoded only once."""
        if index < self._next_frame:
            self._frames, self._next_frame = self.video.frames(), 0
        skipped = index - self._next_frame
        self._next_frame = index + 1
        return next(islice(self._frames, skipped, None))

"""The path of one frame: detector and flow at the same time, unify, poses, ids. Usable without gRPC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np

from posewire.array_types import Float32s
from posewire_models.device_transfer import own_stream
from posewire_models.frames import Detections, FlowField, Frame
from posewire_server.admission.turns import Step, Turn, at_once
from posewire_server.config import BatchingConfig
from posewire_server.errors import DetectorMissing, FrameError
from posewire_server.inference.batching import Batched, BatchReport, MicroBatcher
from posewire_server.inference.lane import Lane
from posewire_server.inference.networks import Networks
from posewire_server.inference.outcomes import Estimated, StageTimes, Tracked
from posewire_server.streams.session import Session
from posewire_server.tracking import MOST_ELAPSED, Boxes, BoxSource, Tracker
from posewire_server.workers import Workers

__all__ = ["Pipeline"]

Result = TypeVar("Result")

# Trackers hold the GIL most of the time, so more threads would only wait for each other.
_TRACKER_THREADS = 2
# A network takes this long to start, during which its thread needs the GIL.
_HEAD_START_S = 0.001
# A tracker that takes at most this long for a frame runs on the event loop.
_QUICK_TRACKER_MS = 3.0


class Pipeline:
    """The networks with their batchers. Shared by all streams, and without any per-stream state.

    Detector and pose network share one lane, since for one frame they never run at the same time. The flow has its own,
    so that it overlaps with the detector; on a GPU each lane has its own CUDA stream.

    Args:
        networks: the three stages.
        batching: how their requests are batched.
        watches: called with a report of every batch that has run.
    """

    def __init__(
        self, networks: Networks, batching: BatchingConfig, watches: Sequence[Callable[[BatchReport], None]] = ()
    ) -> None:
        self.networks = networks
        batching = batching.on(networks.torch_device.type)
        self._device = Lane("device", own_stream(networks.torch_device))
        self._flow_lane = Lane("flow", own_stream(networks.torch_device))
        self._trackers = Workers(_TRACKER_THREADS, "posewire-tracker")
        self._detector_batch, self._pose_batch = batching.detect.max_batch, batching.pose.max_batch
        self._detect = MicroBatcher[Frame, Detections](
            "detect", self._run_detector, self._device, batching.detect, watches=watches
        )
        self._flow = MicroBatcher[tuple[Frame, Frame], FlowField](
            "flow", networks.flow, self._flow_lane, batching.flow, watches=watches
        )
        self._pose = MicroBatcher[tuple[Frame, Float32s], Float32s](
            "pose",
            self._run_pose,
            self._device,
            batching.pose,
            weigh=lambda request: max(1, len(request[1])),
            watches=watches,
        )

    async def process(
        self,
        session: Session,
        frame: Frame,
        *,
        given: Boxes | None = None,
        nearly_done: Callable[[], None] = lambda: None,
        moment_s: float | None = None,
        elapsed: float | None = None,
        turn: Turn = at_once,
        awaited: bool = True,
    ) -> Tracked:
        """Track the people in the next frame of a stream: the loop's body in Algorithm 1, with its step letters.

        Args:
            session: of the stream; processes one frame at a time.
            frame: the next frame.
            given: boxes given by the caller, which replace the detector's.
            nearly_done: called when the last stage begins, which is the time to prepare the next frame.
            moment_s: time of the frame on the session's clock; None: one interval after the previous frame.
            elapsed: time since the previous frame, in frame intervals of the camera; None: measured by the session's
                clock.
            turn: awaited before each step, so that other streams can go first.
            awaited: whether other streams' poses may wait for this frame's, to run in one batch.

        Raises:
            DetectorMissing: the detector is due, but there is none and no boxes were given.
            InferenceFailed: a network failed. The session stays usable, as if this frame had never been sent.
        """
        tracker, times, detect_every = session.tracker, StageTimes(), session.tracker.detect_every
        frame.taken_s = moment_s if session.clock.by_capture else None
        if elapsed is None:
            elapsed = min(session.clock.elapsed(session.previous_s, moment_s), MOST_ELAPSED)
        with _unchanged_by_failures(tracker):
            if session.size not in (None, frame.size):
                tracker.resize(session.size, frame.size)
            tracker.forget_after(elapsed)
            detector_runs = given is None and tracker.detector_due
            if detector_runs:
                self._require_detector()
            await turn(Step.LOOK)
            with self._pose.expected(session.stream_id) if awaited else nullcontext(lambda: None) as withdraw:
                detections, flow = await self._look(session, frame, detector_runs, times)
                # a to c. B_unified.
                boxes = await self._track(
                    session, lambda: tracker.unify(given if given is not None else detections, flow, elapsed), times
                )
                withdraw()
                await turn(Step.POSE)
                nearly_done()
                # d. J^k.
                posing = self._start_poses(frame, boxes.xyxy, session.stream_id)
            try:
                await asyncio.sleep(_HEAD_START_S)
                await self.catch_up(session)  # while the network runs
                posed = await self._posed(posing)
            finally:
                _give_up(posing)
            _note_poses(posed, times)
            # e to g. P^k.
            people = await self._track(session, lambda: tracker.update(boxes, posed.result), times)
        session.saw(frame, moment_s)
        session.tracker_ms = times.track_ms
        return Tracked(people, times, detector_runs, detect_every, elapsed)

    async def catch_up(self, session: Session) -> None:
        """Do the tracker's deferred work; best called after the results of a frame have been sent."""
        await self._track(session, session.tracker.catch_up, StageTimes())

    async def estimate(
        self, frame: Frame, given: Boxes | None, *, box_score_threshold: float, max_people: int, stream: Hashable = None
    ) -> Estimated:
        """Find the poses in a single picture.

        Args:
            frame: the picture.
            given: boxes given by the caller, one person each; the detector does not run then.
            box_score_threshold: detector boxes with a lower score are dropped.
            max_people: maximum number of the detector's boxes; the best are kept.
            stream: key with which the picture shares its turn in the batches.

        Raises:
            DetectorMissing: there is no detector, and no boxes were given.
            InferenceFailed: a network failed.
        """
        times = StageTimes()
        boxes = given
        if boxes is None:
            self._require_detector()
            found = _detected(await self._detect.submit(frame, stream), times)
            order = np.argsort(-found.scores, kind="stable")
            boxes = found[order[found.scores[order] >= box_score_threshold][:max_people]]
        posing = self._start_poses(frame, boxes.xyxy, stream)
        try:
            posed = await self._posed(posing)
        finally:
            _give_up(posing)
        _note_poses(posed, times)
        return Estimated(boxes, posed.result, times)

    @contextmanager
    def approaching(self, stream: Hashable) -> Iterator[None]:
        """Announce that a frame of `stream` is being prepared: batches may wait for it, for at most `max_wait_ms`."""
        with ExitStack() as announcements:
            if self.networks.detector is not None:
                announcements.enter_context(self._detect.expected(stream))
            announcements.enter_context(self._flow.expected(stream))
            yield

    async def warm_up(self, size: tuple[int, int] = (720, 1280)) -> None:
        """Run every stage once on a black frame, so that the first stream does not pay for it. Raises any failure."""
        # One long and one short gap, since there may be a flow estimator for each.
        frames = [Frame(np.zeros((*size, 3), np.uint8), taken_s) for taken_s in (0.0, 1.0, 1.001)]
        if self.networks.detector is not None:
            await self._detect.submit(frames[0], None)
        await self._flow.submit((frames[0], frames[1]), None)
        await self._flow.submit((frames[1], frames[2]), None)
        height, width = size
        box = np.array([[width * 0.4, height * 0.2, width * 0.6, height * 0.8]], np.float32)
        await self._pose.submit((frames[0], box), None)

    @property
    def detector_is_behind(self) -> bool:
        """Whether more requests are waiting for the detector than fit in a batch."""
        return self._detect.waiting > self._detector_batch

    @property
    def waiting(self) -> dict[str, int]:
        """Number of requests that are waiting for each stage."""
        return {stage.name: stage.waiting for stage in (self._detect, self._flow, self._pose)}

    def close(self) -> None:
        """Fail waiting requests and end the threads."""
        for batcher in (self._detect, self._flow, self._pose):
            batcher.close()
        for lane in (self._device, self._flow_lane):
            lane.close()
        self._trackers.close()

    async def _look(
        self, session: Session, frame: Frame, detector_runs: bool, times: StageTimes
    ) -> tuple[Boxes | None, FlowField | None]:
        """B_det and F_{k-1->k}: both need only pixels, so both start at once."""
        previous, flow = session.previous, None
        detect = self._detect.submit(frame, session.stream_id) if detector_runs else None
        # There is no flow between frames of different sizes.
        if session.tracker.config.needs_flow and previous is not None and previous.size == frame.size:
            flow = self._flow.submit((previous, frame), session.stream_id)
        started: list[asyncio.Future[Any]] = [stage for stage in (detect, flow) if stage is not None]
        try:
            for stage in started:
                await stage
        finally:
            _give_up(started)
        if flow is not None:
            times.flow_ms = flow.result().ran_ms
            times.spans.append(("flow", flow.result().began_s, times.flow_ms))
        return (
            None if detect is None else _detected(detect.result(), times),
            None if flow is None else flow.result().result,
        )

    def _start_poses(self, frame: Frame, xyxy: Float32s, stream: Hashable) -> list[asyncio.Future[Batched[Float32s]]]:
        """More people than fit in a batch are divided, so that other streams have their turns in between."""
        most = self._pose_batch
        return [self._pose.submit((frame, xyxy[at : at + most]), stream) for at in range(0, len(xyxy), most)]

    async def _posed(self, parts: Sequence[asyncio.Future[Batched[Float32s]]]) -> Batched[Float32s]:
        """The poses of one frame, from its parts."""
        done = [await part for part in parts]
        nobody = np.zeros((0, len(self.networks.joint_set), 3), np.float32)
        return Batched(
            np.concatenate([nobody, *(part.result for part in done)]),
            ran_ms=sum(part.ran_ms for part in done),
            began_s=done[0].began_s if done else 0.0,
        )

    async def _track(self, session: Session, step: Callable[[], Result], times: StageTimes) -> Result:
        """Run a step of the tracker: on the event loop if the last frame's steps were quick, otherwise on a thread.

        With few people a step takes less time than handing it to a thread; with long queues and many people it takes
        milliseconds, for which the event loop must not be blocked.
        """

        def timed() -> tuple[Result, float, float]:
            start = time.perf_counter()
            result = step()
            return result, start, (time.perf_counter() - start) * 1e3

        if session.tracker_ms <= _QUICK_TRACKER_MS:
            result, began_s, ran_ms = timed()
        else:
            # To its end: the tracker must not be used before that, even if this frame is cancelled.
            result, began_s, ran_ms = await self._trackers.run_to_end(timed)
        times.track_ms += ran_ms
        times.spans.append(("track", began_s, ran_ms))
        return result

    def _run_detector(self, frames: Sequence[Frame]) -> list[Detections]:
        if self.networks.detector is None:
            raise RuntimeError("there is no detector to run")
        return self.networks.detector(frames)

    def _run_pose(self, requests: Sequence[tuple[Frame, Float32s]]) -> list[Float32s]:
        return self.networks.pose([frame for frame, _ in requests], [boxes for _, boxes in requests])

    def _require_detector(self) -> None:
        if self.networks.detector is None:
            raise DetectorMissing(
                f"bundle {self.networks.names.bundle!r} has no person detector: send boxes with the frames, or start "
                "the server with one (--detector onnx:PATH)"
            )


@contextmanager
def _unchanged_by_failures(tracker: Tracker) -> Iterator[None]:
    """If the frame fails or is cancelled in the block, restore the tracker as if the frame had never been sent."""
    before = tracker.state()
    try:
        yield
    except (FrameError, asyncio.CancelledError):
        tracker.restore(before)
        raise


def _give_up(started: Sequence[asyncio.Future[Any]]) -> None:
    """Of what belongs together, what has not finished is not needed any more, and its outcome is ignored."""
    for each in started:
        if not each.cancel() and not each.cancelled():
            each.exception()


def _note_poses(posed: Batched[Float32s], times: StageTimes) -> None:
    times.pose_ms = posed.ran_ms
    if posed.ran_ms:
        times.spans.append(("pose", posed.began_s, posed.ran_ms))


def _detected(batched: Batched[Detections], times: StageTimes) -> Boxes:
    """B_det, from the result of the detector's stage."""
    times.detect_ms = batched.ran_ms
    times.spans.append(("detect", batched.began_s, batched.ran_ms))
    return Boxes.of(batched.result.boxes, batched.result.scores, BoxSource.DETECTOR)

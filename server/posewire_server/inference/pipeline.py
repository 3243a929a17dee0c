"""One frame's way: detector and flow at the same time, unify, poses, ids. No gRPC: a program may use it as it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from posewire_models.device_transfer import own_stream
from posewire_models.frames import Detections, FlowField, Frame
from posewire_server.admission.precedence import Step, Turn, at_once
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

Floats = npt.NDArray[np.float32]
Result = TypeVar("Result")

# Trackers hold the interpreter's lock most of the time: more threads would only wait for each other.
_TRACKER_THREADS = 2
# In this time a network gets going; until then its thread needs the interpreter's lock.
_HEAD_START_S = 0.001
# A tracker that takes no longer than this for a frame runs on the event loop.
_QUICK_TRACKER_MS = 3.0


class Pipeline:
    """The networks behind their batchers; shared by all streams, and without any state of theirs.

    Detector and pose network share one lane: of one frame they never run at the same time. The flow has its own, so
    that it overlaps with the detector; on a GPU each lane has a stream, whose work the GPU runs side by side.

    Args:
        networks: the three stages.
        batching: how their requests are joined.
        watches: told of every batch that has run.
    """

    def __init__(
        self, networks: Networks, batching: BatchingConfig, watches: Sequence[Callable[[BatchReport], None]] = ()
    ) -> None:
        self.networks = networks
        batching = batching.on(networks.torch_device.type)
        self._device = Lane("device", own_stream(networks.torch_device))
        self._flow_lane = Lane("flow", own_stream(networks.torch_device))
        self._trackers = Workers(_TRACKER_THREADS, "posewire-tracker")
        self._detector_batch = batching.detect.max_batch
        self._detect = MicroBatcher[Frame, Detections](
            "detect", self._run_detector, self._device, batching.detect, watches=watches
        )
        self._flow = MicroBatcher[tuple[Frame, Frame], FlowField](
            "flow", networks.flow, self._flow_lane, batching.flow, watches=watches
        )
        self._pose = MicroBatcher[tuple[Frame, Floats], Floats](
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
        """Track the people in the next frame of a stream.

        Args:
            session: of the stream; one frame at a time.
            frame: the next frame.
            given: boxes of the caller, in place of the detector's.
            nearly_done: called when the last stage begins: time to prepare the next frame.
            moment_s: time of the frame by the session's clock; None: one interval after the frame before.
            elapsed: time since the frame before, in intervals of the camera; None: what the session's clock says.
            turn: awaited before each step, where others may go first.
            awaited: whether others' poses may wait for those of this frame, to run together.

        Raises:
            DetectorMissing: the detector is due, but there is none and no boxes were given.
            InferenceFailed: a network failed. The session stays usable: the frame is missing, as if never sent.
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
                boxes = await self._track(
                    session, lambda: tracker.unify(given if given is not None else detections, flow, elapsed), times
                )
                withdraw()
                await turn(Step.POSE)
                nearly_done()
                posing = self._start_poses(frame, boxes.xyxy, session.stream_id)
            try:
                await asyncio.sleep(_HEAD_START_S)
                await self.catch_up(session)  # while the network runs
                posed = await posing
            finally:
                posing.cancel()
            _note_poses(posed, times)
            people = await self._track(session, lambda: tracker.update(boxes, posed.result), times)
        session.saw(frame, moment_s)
        session.tracker_ms = times.track_ms
        return Tracked(people, times, detector_runs, detect_every, elapsed)

    async def catch_up(self, session: Session) -> None:
        """What the tracker may do between two frames; best called when the results of the first have been sent."""
        await self._track(session, session.tracker.catch_up, StageTimes())

    async def estimate(
        self, frame: Frame, given: Boxes | None, *, box_score_threshold: float, max_people: int, stream: Hashable = None
    ) -> Estimated:
        """Find the poses in a single picture.

        Args:
            frame: the picture.
            given: boxes of the caller, one person each; the detector does not run then.
            box_score_threshold: detector boxes with a lower score are dropped.
            max_people: the best so many of the detector's boxes are taken.
            stream: with whom the picture shares its turn in the batches.

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
        posed = await self._start_poses(frame, boxes.xyxy, stream)
        _note_poses(posed, times)
        return Estimated(boxes, posed.result, times)

    @contextmanager
    def approaching(self, stream: Hashable) -> Iterator[None]:
        """A frame of `stream` is being made ready: within their budget, batches may wait for it."""
        with ExitStack() as announcements:
            if self.networks.detector is not None:
                announcements.enter_context(self._detect.expected(stream))
            announcements.enter_context(self._flow.expected(stream))
            yield

    async def warm_up(self, size: tuple[int, int] = (720, 1280)) -> None:
        """Run every stage once on a black frame, so that the first stream does not pay for it. Raises what fails."""
        # The second is taken long after the first, the third soon after: there may be a flow estimator for either.
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
        """Whether more waits for the detector than it takes at once."""
        return self._detect.waiting > self._detector_batch

    @property
    def waiting(self) -> dict[str, int]:
        """Requests that wait for each stage."""
        return {stage.name: stage.waiting for stage in (self._detect, self._flow, self._pose)}

    def close(self) -> None:
        """Fail what waits and end the threads."""
        for batcher in (self._detect, self._flow, self._pose):
            batcher.close()
        for lane in (self._device, self._flow_lane):
            lane.close()
        self._trackers.close()

    async def _look(
        self, session: Session, frame: Frame, detector_runs: bool, times: StageTimes
    ) -> tuple[Boxes | None, FlowField | None]:
        """B_det and F_{k-1->k}: both need only pixels, so both start at once."""
        previous = session.previous
        # Between frames of two sizes there is no flow: the camera was switched over.
        flow_runs = session.tracker.config.needs_flow and previous is not None and previous.size == frame.size
        detect = self._detect.submit(frame, session.stream_id) if detector_runs else None
        flow = self._flow.submit((previous, frame), session.stream_id) if flow_runs and previous is not None else None
        started: list[asyncio.Future[Any]] = [stage for stage in (detect, flow) if stage is not None]
        try:
            for stage in started:
                await stage
        finally:
            for stage in started:
                # If one failed, the other is of no use, and how it ends of no interest.
                if not stage.cancel() and not stage.cancelled():
                    stage.exception()
        if flow is not None:
            times.flow_ms = flow.result().ran_ms
            times.spans.append(("flow", flow.result().began_s, times.flow_ms))
        return (
            None if detect is None else _detected(detect.result(), times),
            None if flow is None else flow.result().result,
        )

    def _start_poses(self, frame: Frame, xyxy: Floats, stream: Hashable) -> asyncio.Future[Batched[Floats]]:
        if len(xyxy):
            return self._pose.submit((frame, xyxy), stream)
        nobody: asyncio.Future[Batched[Floats]] = asyncio.get_running_loop().create_future()
        nobody.set_result(Batched(np.zeros((0, len(self.networks.joint_set), 3), np.float32), ran_ms=0.0))
        return nobody

    async def _track(self, session: Session, step: Callable[[], Result], times: StageTimes) -> Result:
        """A step of the tracker: here if those of the last frame were quick, else on a thread.

        With few people a step takes less than handing it over would; with long queues and many people it takes
        milliseconds, during which the event loop must not stand still.
        """

        def timed() -> tuple[Result, float, float]:
            start = time.perf_counter()
            result = step()
            return result, start, (time.perf_counter() - start) * 1e3

        if session.tracker_ms <= _QUICK_TRACKER_MS:
            result, began_s, ran_ms = timed()
        else:
            running = self._trackers.run(timed)
            try:
                await asyncio.wait({running})
            except asyncio.CancelledError:
                await asyncio.wait({running})  # until then the tracker must be left alone
                raise
            result, began_s, ran_ms = running.result()
        times.track_ms += ran_ms
        times.spans.append(("track", began_s, ran_ms))
        return result

    def _run_detector(self, frames: Sequence[Frame]) -> list[Detections]:
        if self.networks.detector is None:
            raise RuntimeError("there is no detector to run")
        return self.networks.detector(frames)

    def _run_pose(self, requests: Sequence[tuple[Frame, Floats]]) -> list[Floats]:
        return self.networks.pose([frame for frame, _ in requests], [boxes for _, boxes in requests])

    def _require_detector(self) -> None:
        if self.networks.detector is None:
            raise DetectorMissing(
                f"bundle {self.networks.names.bundle!r} has no person detector: send boxes with the frames, or start "
                "the server with one (--detector onnx:PATH)"
            )


@contextmanager
def _unchanged_by_failures(tracker: Tracker) -> Iterator[None]:
    """A frame that fails in the block, or is given up, is missing, as if never sent."""
    before = tracker.state()
    try:
        yield
    except (FrameError, asyncio.CancelledError):
        tracker.restore(before)
        raise


def _note_poses(posed: Batched[Floats], times: StageTimes) -> None:
    times.pose_ms = posed.ran_ms
    if posed.ran_ms:
        times.spans.append(("pose", posed.began_s, posed.ran_ms))


def _detected(batched: Batched[Detections], times: StageTimes) -> Boxes:
    """B_det, from what the detector's stage gave."""
    times.detect_ms = batched.ran_ms
    times.spans.append(("detect", batched.began_s, batched.ran_ms))
    return Boxes.of(batched.result.boxes, batched.result.scores, BoxSource.DETECTOR)

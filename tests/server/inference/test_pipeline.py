from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from posewire.joints import COCO17
from posewire_models.flow_estimators import FlowByGap
from posewire_models.frames import Detections, FlowField, Frame
from posewire_server.admission.turns import Step
from posewire_server.config import BatchingConfig
from posewire_server.configuration import load_config
from posewire_server.errors import DetectorMissing, InferenceFailed, ServerDraining
from posewire_server.inference.lane import Lane
from posewire_server.inference.networks import Networks
from posewire_server.inference.outcomes import Estimated
from posewire_server.inference.pipeline import Pipeline
from posewire_server.streams.frame_clock import FrameClock
from posewire_server.streams.session import Session
from posewire_server.tracking import Boxes, BoxSource, Similarity, Tracker, TrackerConfig
from posewire_server.workers import wait_for_last_work
from tests.server.stand_ins import Gate, GridPose, RectangleDetector, ShyPose, networks, picture


class ShiftFlow:
    """Everybody moves right by 2 pixels, as in `picture`; remembers between which frames it was asked."""

    def __init__(self) -> None:
        self.pairs: list[tuple[Frame, Frame]] = []

    def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        self.pairs += pairs
        return [FlowField(np.full((1, 1, 2), (2, 0), np.float32), before.size) for before, _ in pairs]


@asynccontextmanager
async def _pipeline(networks_: Networks) -> AsyncIterator[Pipeline]:
    pipeline = Pipeline(networks_, BatchingConfig())
    try:
        yield pipeline
    finally:
        pipeline.close()


def _session(**settings: Any) -> Session:
    return Session("test", Tracker(TrackerConfig(**settings), COCO17.sigmas))


def _frame(step: int = 0, **scene: Any) -> Frame:
    return Frame(picture(step, **scene))


async def test_people_keep_their_ids() -> None:
    session = _session()
    async with _pipeline(networks()) as pipeline:
        for step in range(5):
            began_s = time.perf_counter()
            tracked = await pipeline.process(session, _frame(step))
            ended_s = time.perf_counter()
            assert tracked.people.ids.tolist() == [1, 2]
            assert tracked.detector_ran
            assert {name for name, _, _ in tracked.times.spans} == {"detect", "pose", "track", *["flow"] * (step > 0)}
            assert all(began_s <= at_s <= at_s + ms / 1e3 <= ended_s for _, at_s, ms in tracked.times.spans)
            assert tracked.times.detect_ms > 0
            assert tracked.times.pose_ms > 0
            assert tracked.times.track_ms > 0
            assert (tracked.times.flow_ms > 0) == (step > 0)
            assert tracked.times.look_ms == max(tracked.times.detect_ms, tracked.times.flow_ms)


async def test_a_gap_between_frames_is_known_to_the_flow_estimator() -> None:
    """By times of capture only: those of arrival would be others when a recording is replayed."""
    near, far = ShiftFlow(), ShiftFlow()
    async with _pipeline(replace(networks(), flow=FlowByGap(near, far))) as pipeline:
        for capture in (True, False):
            session = _session()
            session.clock = FrameClock(may_drop=True)
            for step, at in enumerate((7.0, 7.04, 7.08, 7.5, 7.54)):
                moment_s = session.clock.received(at if capture else None, 100 + at)
                await pipeline.process(session, _frame(step), moment_s=moment_s)
            assert (len(near.pairs), len(far.pairs)) == ((3, 1) if capture else (7, 1))


async def test_warming_up_runs_every_network() -> None:
    detector, near, far, pose = RectangleDetector(), ShiftFlow(), ShiftFlow(), Gate()
    pose.open.set()
    flow = FlowByGap(near, far)
    async with _pipeline(replace(networks(), detector=detector, flow=flow, pose=pose)) as pipeline:
        await pipeline.warm_up((48, 64))
    assert (detector.calls, len(near.pairs), len(far.pairs), pose.reached.is_set()) == (1, 1, 1, True)


async def test_detector_and_flow_run_at_the_same_time() -> None:
    both = threading.Barrier(2)

    class MeetingDetector(RectangleDetector):
        def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
            if threading.current_thread() is not threading.main_thread() and self.calls:
                both.wait(timeout=20)  # returns only once the flow is here too
            return super().__call__(frames)

    class MeetingFlow(ShiftFlow):
        def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
            both.wait(timeout=20)
            return super().__call__(pairs)

    async with _pipeline(replace(networks(detector=MeetingDetector()), flow=MeetingFlow())) as pipeline:
        session = _session()
        for step in range(3):
            await pipeline.process(session, _frame(step))
    assert not both.broken


async def test_each_lane_works_within_what_it_is_given() -> None:
    """On a GPU, a stream: without it both lanes would queue on the same one."""
    order: list[str] = []

    @contextmanager
    def around() -> Iterator[None]:
        order.append("in")
        yield
        order.append("out")

    done = asyncio.Event()
    lane = Lane("test", around)
    lane.run(lambda: order.append("work"), lambda result, error, began_s, ran_ms: done.set())
    await done.wait()
    lane.close()
    assert order == ["in", "work", "out"]
    await asyncio.to_thread(wait_for_last_work)
    assert "posewire-test-1" not in {thread.name for thread in threading.enumerate()}


async def test_on_a_gpu_batches_are_larger_unless_somebody_said_otherwise(tmp_path: Path) -> None:
    """`meta` is a device that computes nothing: enough to see what is chosen for one that is no CPU."""
    elsewhere = replace(networks(), torch_device=torch.device("meta"))
    for given, toml, sizes in (
        (networks(), "", (8, 8, 16)),
        (elsewhere, "", (32, 32, 128)),
        (elsewhere, "detect.max_batch = 5", (5, 32, 128)),
        (elsewhere, "detect.max_batch = 8", (8, 32, 128)),  # what it would be on a CPU, but chosen
        (elsewhere, "pose.max_wait_ms = 5", (32, 32, 128)),
    ):
        (tmp_path / "server.toml").write_text(f"[batching]\n{toml}")
        pipeline = Pipeline(given, load_config(file=tmp_path / "server.toml").batching)
        pipeline.close()
        stages = (pipeline._detect, pipeline._flow, pipeline._pose)
        assert tuple(stage._config.max_batch for stage in stages) == sizes, toml


@pytest.mark.parametrize(
    ("settings", "runs"),
    [
        ({}, True),
        ({"similarity": Similarity.POSE}, True),  # propagation needs it
        ({"similarity": Similarity.FLOW, "propagation": False}, True),
        ({"similarity": Similarity.BBOX, "propagation": False}, False),  # nobody does
    ],
)
async def test_the_flow_runs_only_where_it_is_of_use(settings: dict[str, Any], runs: bool) -> None:
    flow = ShiftFlow()
    async with _pipeline(replace(networks(), flow=flow)) as pipeline:
        session = _session(**settings)
        for step in range(2):
            await pipeline.process(session, _frame(step))
    assert len(flow.pairs) == int(runs)


async def test_another_frame_size_has_no_flow_and_no_error() -> None:
    flow = ShiftFlow()
    async with _pipeline(replace(networks(), flow=flow)) as pipeline:
        session = _session()
        await pipeline.process(session, _frame(0))
        await pipeline.process(session, _frame(0, size=(480, 640)))
        await pipeline.process(session, _frame(1, size=(480, 640)))
    assert [pair[0].size for pair in flow.pairs] == [(480, 640)]


async def test_people_keep_their_ids_when_their_camera_sends_smaller_frames() -> None:
    """One of them stands where the other's centre is in a frame of half the size."""
    large = np.zeros((480, 640, 3), np.uint8)
    large[200:400, 220:320] = large[60:240, 96:176] = 255
    session = _session()
    async with _pipeline(networks()) as pipeline:
        for scale in (1, 1, 2, 2, 1):
            people = (await pipeline.process(session, Frame(large[::scale, ::scale].copy()))).people
            assert people.ids[people.boxes.xyxy[:, 2].argsort()].tolist() == [1, 2]


async def test_the_detector_looks_at_the_first_frame_of_another_shape() -> None:
    session = _session(detect_every=10)
    async with _pipeline(networks()) as pipeline:
        await pipeline.process(session, _frame(0))
        await pipeline.process(session, _frame(1))
        for step in (2, 3):
            tracked = await pipeline.process(session, _frame(step, size=(240, 480)))
            assert tracked.people.ids.tolist() == [3, 4]
            assert tracked.detector_ran is (step == 2)


@pytest.mark.parametrize(("elapsed", "ids"), [(3600.0, [1, 2]), (3601.0, [3, 4])])
async def test_after_a_very_long_gap_nobody_is_known(elapsed: float, ids: list[int]) -> None:
    session = _session(detect_every=10)
    async with _pipeline(networks()) as pipeline:
        await pipeline.process(session, _frame(0))
        tracked = await pipeline.process(session, _frame(0), elapsed=elapsed)
    assert tracked.people.ids.tolist() == ids
    assert tracked.detector_ran is (ids == [3, 4])


async def test_a_frame_that_is_given_up_at_any_step_is_missing_as_if_never_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, updating, go_on = _session(), threading.Event(), threading.Event()
    update = Tracker.update

    def slow(tracker: Tracker, *what: Any) -> Any:
        people = update(tracker, *what)
        updating.set()
        go_on.wait(30)
        return people

    async with _pipeline(networks()) as pipeline:
        await pipeline.process(session, _frame(0))
        before, previous = session.tracker.state(), session.previous
        session.tracker_ms = 100.0  # so that steps of the tracker run on a thread
        monkeypatch.setattr(Tracker, "update", slow)
        working = asyncio.create_task(pipeline.process(session, _frame(1, people=3)))
        await asyncio.to_thread(updating.wait, 30)
        working.cancel()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await working
        assert session.previous is previous
        assert session.tracker.identities == before.identities == 2
        monkeypatch.undo()
        tracked = await pipeline.process(session, _frame(2, people=3))
    assert tracked.people.ids.tolist() == [1, 2, 3]


async def test_after_a_frame_whose_poses_failed_the_flow_spans_the_gap() -> None:
    flow = ShiftFlow()
    async with _pipeline(replace(networks(pose=ShyPose()), flow=flow)) as pipeline:
        session = _session()
        frames = [_frame(step) for step in range(4)]
        frames[2].pixels[0, 0] = (0, 0, 255)  # the pose network fails on it, after the joints were moved to it
        session.clock = FrameClock(may_drop=True)
        moments = [session.clock.received(0.04 * step, 0.0) for step in range(4)]
        for step in (0, 1):
            await pipeline.process(session, frames[step], moment_s=moments[step])
        before = session.tracker.state()
        with pytest.raises(InferenceFailed):
            await pipeline.process(session, frames[2], moment_s=moments[2])
        assert session.tracker.state().queue is before.queue
        tracked = await pipeline.process(session, frames[3], moment_s=moments[3])
    assert [(frames.index(before), frames.index(after)) for before, after in flow.pairs] == [(0, 1), (1, 2), (1, 3)]
    assert tracked.people.ids.tolist() == [1, 2]
    assert tracked.elapsed == 2.0


async def test_after_a_detector_failure_the_flow_spans_the_gap() -> None:
    class FailsOnce(RectangleDetector):
        def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
            if self.calls == 1:
                self.calls += 1
                raise RuntimeError("once")
            return super().__call__(frames)

    flow = ShiftFlow()
    async with _pipeline(replace(networks(detector=FailsOnce()), flow=flow)) as pipeline:
        session = _session()
        frames = [_frame(step) for step in range(3)]
        await pipeline.process(session, frames[0])
        with pytest.raises(InferenceFailed, match="detect stage failed"):
            await pipeline.process(session, frames[1])
        tracked = await pipeline.process(session, frames[2])
    assert (frames[0], frames[2]) in flow.pairs
    assert tracked.people.ids.tolist() == [1, 2]


async def test_where_the_detector_failed_the_flow_is_not_estimated_any_more() -> None:
    class FailsLater(RectangleDetector):
        def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
            if self.calls:
                raise RuntimeError("broken")
            return super().__call__(frames)

    class HeldFlow(ShiftFlow):
        go = threading.Event()

        def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
            assert self.go.wait(30)
            return super().__call__(pairs)

    flow, session = HeldFlow(), _session()
    frames = [_frame(step) for step in range(4)]
    async with _pipeline(replace(networks(detector=FailsLater()), flow=flow)) as pipeline:
        await pipeline.process(session, frames[0])
        busy = pipeline._flow.submit((frames[2], frames[3]), "busy")  # the lane is held
        with pytest.raises(InferenceFailed):
            await pipeline.process(session, frames[1])
        flow.go.set()
        await busy
        await pipeline._flow.submit((frames[3], frames[2]), "next")
    assert flow.pairs == [(frames[2], frames[3]), (frames[3], frames[2])]


async def test_of_a_frame_that_is_given_up_no_pose_is_estimated() -> None:
    shown: list[Frame] = []

    class Watched(Gate):
        def __call__(self, frames: Sequence[Frame], boxes: Any) -> Any:
            shown.extend(frames)
            return super().__call__(frames, boxes)

    gate, given = Watched(), Boxes.of([[70, 60, 110, 180]], [1.0], BoxSource.CALLER)
    frames = [_frame(step) for step in range(3)]
    async with _pipeline(networks(pose=gate)) as pipeline:
        first = asyncio.create_task(pipeline.process(_session(), frames[0]))
        await asyncio.to_thread(gate.reached.wait, 30)  # the lane is held
        given_up = asyncio.create_task(pipeline.process(_session(), frames[1], given=given))
        while not pipeline.waiting["pose"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        gate.open.set()
        await first
        await pipeline.estimate(frames[2], given, box_score_threshold=0.5, max_people=9)
    assert shown == [frames[0], frames[2]]


async def test_the_next_frame_may_be_prepared_when_the_last_stage_begins() -> None:
    order = []

    class Tells(ShyPose):
        def __call__(self, frames: Sequence[Frame], boxes: Any) -> Any:
            order.append("pose")
            return super().__call__(frames, boxes)

    async def turn(step: Step) -> None:
        order.append(f"turn to {step}")

    async with _pipeline(networks(pose=Tells())) as pipeline:
        await pipeline.process(_session(), _frame(), nearly_done=lambda: order.append("nearly done"), turn=turn)
    # What comes before its turn may take long: a picture prepared then would be old.
    assert order == ["turn to look", "turn to pose", "nearly done", "pose"]


@pytest.mark.parametrize("awaited", [True, False])
async def test_poses_wait_for_a_frame_on_its_way_unless_it_lets_others_pass(awaited: bool) -> None:
    expected = []

    class Asks(ShiftFlow):
        def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
            expected.append(bool(pipeline._pose._expected))
            return super().__call__(pairs)

    async with _pipeline(replace(networks(), flow=Asks())) as pipeline:
        session = _session()
        for step in range(2):
            await pipeline.process(session, _frame(step), awaited=awaited)
    assert expected == [awaited]


async def test_boxes_given_by_the_caller() -> None:
    given = Boxes.of([[70, 60, 110, 180]], [1.0], BoxSource.CALLER)
    own = networks()
    async with _pipeline(own) as pipeline:
        tracked = await pipeline.process(_session(), _frame(), given=given)
    assert own.detector.calls == 0  # type: ignore[union-attr]
    assert not tracked.detector_ran
    assert tracked.people.boxes.xyxy.tolist() == [[70, 60, 110, 180]]


async def test_no_detector_and_no_boxes() -> None:
    async with _pipeline(networks(detector=None)) as pipeline:
        with pytest.raises(DetectorMissing, match="--detector onnx:PATH"):
            await pipeline.process(_session(), _frame())
        with pytest.raises(DetectorMissing):
            await pipeline.estimate(_frame(), None, box_score_threshold=0.5, max_people=9)


async def test_a_tracker_that_takes_long_leaves_the_event_loop() -> None:
    threads = []

    class Watched(Tracker):
        def update(self, boxes: Boxes, joints: Any) -> Any:
            threads.append(threading.current_thread())
            return super().update(boxes, joints)

    session = Session("test", Watched(TrackerConfig(), COCO17.sigmas))
    async with _pipeline(networks()) as pipeline:
        await pipeline.process(session, _frame(0))
        session.tracker_ms = 50.0
        await pipeline.process(session, _frame(1))
    assert [thread is threading.main_thread() for thread in threads] == [True, False]
    assert session.tracker_ms < 50.0  # measured anew


async def test_single_pictures() -> None:
    async with _pipeline(networks()) as pipeline:
        everybody = await pipeline.estimate(_frame(people=3), None, box_score_threshold=0.5, max_people=9)
        best = await pipeline.estimate(_frame(people=3), None, box_score_threshold=0.5, max_people=1)
        nobody = await pipeline.estimate(_frame(people=3), None, box_score_threshold=0.95, max_people=9)
        given = Boxes.of([[70, 60, 110, 180], [10, 60, 50, 180]], [1.0, 0.5], BoxSource.CALLER)
        theirs = await pipeline.estimate(_frame(people=3), given, box_score_threshold=0.99, max_people=1)
    assert len(everybody.boxes) == 3
    assert everybody.joints.shape == (3, 17, 3)
    assert len(best.boxes) == 1
    assert nobody.joints.shape == (0, 17, 3)
    assert len(nobody.as_people(0.4)) == 0
    # Whoever gives boxes gets a pose for each of them, in their order.
    np.testing.assert_array_equal(theirs.boxes.xyxy, given.xyxy)
    np.testing.assert_allclose(theirs.as_people(0.4).scores, [0.9, 0.45])


async def test_a_crowd_is_divided_between_batches_and_others_have_their_turns() -> None:
    batches: list[int] = []

    class Counting(Gate):
        def __call__(self, frames: Sequence[Frame], boxes: Any) -> Any:
            batches.append(sum(map(len, boxes)))
            return super().__call__(frames, boxes)

    gate = Counting()
    crowd = np.float32([[left, 60, left + 40, 180] for left in range(64)])
    async with _pipeline(networks(pose=gate)) as pipeline:

        def poses(xyxy: Any, stream: str) -> asyncio.Task[Estimated]:
            given = Boxes.of(xyxy, np.ones(len(xyxy)), BoxSource.CALLER)
            frame = _frame()
            return asyncio.create_task(
                pipeline.estimate(frame, given, box_score_threshold=0.5, max_people=100, stream=stream)
            )

        many = poses(crowd, "crowd")
        await asyncio.to_thread(gate.reached.wait, 30)
        waiting = pipeline.waiting["pose"]
        one = poses(crowd[:1], "camera")
        while pipeline.waiting["pose"] == waiting:  # noqa: ASYNC110
            await asyncio.sleep(0)
        gate.open.set()
        await one
        estimated = await many
    assert batches == [16, 16, 1, 16, 16]
    np.testing.assert_array_equal(estimated.joints, GridPose()([_frame()], [crowd])[0])
    assert estimated.times.pose_ms > 0


async def test_of_a_crowd_on_which_the_network_fails_the_rest_is_given_up() -> None:
    calls = 0

    class Counting(ShyPose):
        def __call__(self, frames: Sequence[Frame], boxes: Any) -> Any:
            nonlocal calls
            calls += 1
            return super().__call__(frames, boxes)

    blue = _frame()
    blue.pixels[0, 0] = (0, 0, 255)
    crowd = Boxes.of(np.tile([10, 60, 50, 180], (100, 1)), np.ones(100), BoxSource.CALLER)
    async with _pipeline(networks(pose=Counting())) as pipeline:
        with pytest.raises(InferenceFailed, match="pose stage failed"):
            await pipeline.estimate(blue, crowd, box_score_threshold=0.5, max_people=100)
        await pipeline.estimate(_frame(), crowd[:1], box_score_threshold=0.5, max_people=100)
    assert calls <= 3  # the next part may have begun meanwhile


async def test_the_detector_is_behind_once_more_waits_for_it_than_fits_in_a_batch() -> None:
    gate, frame, box = Gate(), _frame(), np.float32([[10, 60, 50, 180]])
    async with _pipeline(networks(pose=gate)) as pipeline:
        posing = pipeline._pose.submit((frame, box), "first")
        await asyncio.to_thread(gate.reached.wait, 30)  # the lane is held
        detecting = [pipeline._detect.submit(frame, number) for number in range(pipeline._detector_batch)]
        assert not pipeline.detector_is_behind
        detecting.append(pipeline._detect.submit(frame, "one more"))
        assert pipeline.detector_is_behind
        gate.open.set()
        await asyncio.gather(posing, *detecting)


async def test_the_best_of_the_detectors_boxes_are_taken_for_a_single_picture() -> None:
    class Unsure(RectangleDetector):
        def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
            return [replace(found, scores=np.float32([0.6, 0.9, 0.5])) for found in super().__call__(frames)]

    async with _pipeline(networks(detector=Unsure())) as pipeline:
        best = await pipeline.estimate(_frame(people=3), None, box_score_threshold=0.5, max_people=2)
        everybody = await pipeline.estimate(_frame(people=3), None, box_score_threshold=0.5, max_people=9)
    assert best.boxes.scores.tolist() == pytest.approx([0.9, 0.6])
    assert len(everybody.boxes) == 3  # the threshold itself is enough


async def test_a_closed_pipeline_refuses_all_requests() -> None:
    gate = Gate()
    async with _pipeline(networks(pose=gate)) as pipeline:
        running = asyncio.create_task(pipeline.process(_session(), _frame()))
        await asyncio.to_thread(gate.reached.wait, 30)
        waiting = asyncio.create_task(pipeline.process(_session(), _frame()))  # for the same thread
        await asyncio.sleep(0)
        pipeline.close()
        later = asyncio.create_task(pipeline.process(_session(), _frame()))
        done, _ = await asyncio.wait({running, waiting, later}, timeout=10)
        gate.open.set()
        assert [type(each.exception()) for each in done] == [ServerDraining] * 3

"""Recording a stream, replaying it, and explaining it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from posewire import AsyncClient
from posewire.cli.application import app
from posewire.cli.replay import _notes
from posewire.joints import COCO17
from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_models.flow_estimators import FlowByGap, StillFlow
from posewire_models.frames import FlowField, Frame
from posewire_server.config import LimitsConfig, ServerConfig
from posewire_server.inference.networks import Networks
from posewire_server.recording.explanation import explain
from posewire_server.recording.file_format import MAGIC, Kind, Record, pack, records
from posewire_server.recording.recorder import Recorder
from posewire_server.recording.recording import Recording
from posewire_server.server import PoseServer, running_server
from tests.integration.service_calls import ALL, LATEST, Answers, TrackClient, box_list, connected, server_config
from tests.processes.server_process import serving
from tests.server.stand_ins import Gate, ShyPose, jpeg, networks, picture
from tests.server.videos import Codec, encode


async def posewire(*arguments: object) -> Any:
    """Run a command in a thread, while servers run in the test's loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, [str(argument) for argument in arguments])


async def recorded(folder: Path, **options: Any) -> Path:
    """The recording of a stream in which a person appears in frame 6."""
    async with (
        running_server(server_config(record=folder), networks()) as address,
        AsyncClient(address) as client,
        client.track(**options) as stream,
    ):
        for number in range(12):
            await stream.send(picture(number, people=2 if number < 6 else 3))
        await stream.finish()
        assert len([result async for result in stream]) == 12
    return only_file(folder)


async def recorded_as_sent(
    folder: Path,
    frames: Sequence[track_pb2.Frame],
    networks: Networks,
    *,
    limits: LimitsConfig | None = None,
    **config: Any,
) -> tuple[Recording, Answers]:
    """The recording of a stream of these frames, valid or not."""
    server = server_config(record=folder, limits=limits or LimitsConfig())
    async with running_server(server, networks) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(**({"drop_policy": ALL} | config))
        for frame in frames:
            await client.call.write(track_pb2.TrackRequest(frame=frame))
        await client.call.done_writing()
        while isinstance(response := await client.call.read(), track_pb2.TrackResponse):
            if response.WhichOneof("event") != "failed":  # for a number that was used before
                client.answers.take(response)
    return Recording.read(only_file(folder)), client.answers


def files(folder: Path) -> list[Path]:
    return list(folder.glob("*.pwrec*"))


def only_file(folder: Path) -> Path:
    (path,) = files(folder)
    return path


@pytest.fixture
async def again() -> AsyncIterator[str]:
    async with running_server(server_config(), networks()) as address:
        yield address


async def check_replays(parts: Sequence[Path], again: str) -> None:
    """Each part contains frames, and a replay gives the same results."""
    for path in parts:
        done = await posewire("replay", path, "--server", again)
        assert done.exit_code == 0, done.output
        assert re.search(r"^[1-9]\d* frames?: same ids", done.output, re.MULTILINE)


@pytest.mark.parametrize("options", [{}, {"codec": "png", "similarity": "pose"}, {"joint_set": "posetrack15"}])
async def test_a_replay_gives_the_same(tmp_path: Path, again: str, options: dict[str, Any]) -> None:
    path = await recorded(tmp_path, **options)
    done = await posewire("replay", path, "--server", again)
    assert done.exit_code == 0, done.output
    assert "12 frames: same ids, joints within 0.0000 px" in done.output


async def test_the_first_difference_is_shown(tmp_path: Path) -> None:
    path = await recorded(tmp_path)

    class Elsewhere(ShyPose):
        def __call__(self, frames: Any, boxes: Any) -> Any:
            return [joints + [0.5, 0, 0] for joints in super().__call__(frames, boxes)]

    async with running_server(server_config(), networks(pose=Elsewhere())) as address:
        done = await posewire("replay", path, "--server", address)
        tolerant = await posewire("replay", path, "--server", address, "--tolerance", "0.6")
    assert done.exit_code == 1
    assert "frame 0 differs: joints of id 1 are 0.500 px apart" in done.output
    assert tolerant.exit_code == 0, tolerant.output


async def test_every_part_of_a_long_stream_is_replayed(tmp_path: Path, again: str) -> None:
    pictures = [picture(number % 20, people=2) for number in range(40)]
    size = (pictures[0].shape[1], pictures[0].shape[0])
    async with (
        running_server(server_config(record=tmp_path, record_max_mb=4), networks()) as address,
        AsyncClient(address) as client,
        client.track(pictures, codec="raw", raw_size=size, drop_policy="all") as stream,
    ):
        assert len([result async for result in stream]) == 40
    parts = sorted(files(tmp_path), key=lambda path: min(Recording.read(path).outcomes))
    assert len(parts) > 2
    assert max(Recording.read(parts[-1]).outcomes) == 39
    await check_replays(parts, again)


@pytest.mark.parametrize(
    ("codec", "options"),
    [
        (Codec.H264, {"b_frames": 2}),
        (Codec.H265, {"b_frames": 3, "open_gop": True}),  # key frames have leading frames that refer back
    ],
    ids=["H264", "H265"],
)
async def test_every_part_of_a_video_is_replayed(
    tmp_path: Path, again: str, codec: Codec, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Recorder, "share_bytes", 3000)
    units = encode(codec, [picture(number % 20, people=2) for number in range(48)], **options)
    wire = pose_pb2.CODEC_H264 if codec is Codec.H264 else pose_pb2.CODEC_H265
    async with running_server(server_config(record=tmp_path), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, codec=wire)
        for number, unit in enumerate(units):
            await client.send(number, unit)
        answers = await client.finish()
    assert len(answers.tracked) == 48
    assert len(files(tmp_path)) > 2
    await check_replays(files(tmp_path), again)


async def test_a_replay_goes_to_the_first_server_that_can_be_reached(tmp_path: Path) -> None:
    path = await recorded(tmp_path)
    async with running_server(server_config(), networks()) as address:
        done = await posewire("replay", path, "--server", f"127.0.0.1:1,{address}")
    assert "12 frames: same ids" in done.output


async def test_a_replay_by_other_networks_says_which(tmp_path: Path) -> None:
    path = await recorded(tmp_path)
    others = networks()
    others = replace(others, names=replace(others.names, flow="DIS", bundle_version=2))
    async with running_server(server_config(), others) as address:
        done = await posewire("replay", path, "--server", address)
    assert "recorded with other networks: bundle_version 1, now 2; flow still, now DIS" in done.output


async def test_only_what_was_tracked_is_shown_to_the_tracker_again(tmp_path: Path, again: str) -> None:
    async with running_server(server_config(record=tmp_path), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=LATEST)
        for number in range(40):
            await client.send(number, b"torn" if number == 3 else jpeg(picture(number % 20)))
            if number % 8 == 0:
                await client.read()
        answers = await client.finish()
    path = only_file(tmp_path)
    recording = Recording.read(path)
    assert recording.outcomes.keys() == answers.answered == set(range(40))
    tracked = {each.number: each.elapsed for each in answers.tracked.values()}
    repeated = {frame.number: frame.elapsed for frame in recording.frames_to_repeat()}
    assert {number: repeated[number] for number in tracked} == tracked  # gaps count as they did
    done = await posewire("replay", path, "--server", again)
    assert done.exit_code == 0, done.output


async def test_packets_are_recorded_as_they_came(tmp_path: Path, again: str) -> None:
    async with (
        running_server(server_config(record=tmp_path), networks()) as address,
        AsyncClient(address) as client,
        client.track(codec="h264") as stream,
    ):
        for unit in encode(Codec.H264, [picture(step) for step in range(8)]):
            await stream.send(unit)
        await stream.finish()
        assert all([result.tracked async for result in stream])
    path = only_file(tmp_path)
    done = await posewire("replay", path, "--server", again)
    assert done.exit_code == 0, done.output
    explanation = await explain(Recording.read(path), 5, networks())
    assert explanation.ids == explanation.recorded_ids == [1, 2]


def units(count: int, **options: Any) -> list[track_pb2.Frame]:
    """Frames of H.264 in which one person walks."""
    encoded = encode(Codec.H264, [picture(3 * step, people=1) for step in range(count)], **options)
    return [track_pb2.Frame(number=number, data=unit) for number, unit in enumerate(encoded)]


async def test_units_that_failed_for_their_boxes_or_numbers_are_decoded_again(tmp_path: Path, again: str) -> None:
    frames = units(12)
    frames[4].boxes.CopyFrom(box_list(np.array([[0, 0, -1, 5]])))
    frames[6].number = 5  # the same as the previous one
    recording, answers = await recorded_as_sent(tmp_path, frames, networks(), codec=pose_pb2.CODEC_H264)
    assert answers.tracked.keys() == set(range(12)) - {4, 6}
    assert [frame.number for frame in recording.frames_to_repeat()] == [0, 1, 2, 3, 4, 5, 5, 7, 8, 9, 10, 11]
    done = await posewire("replay", recording.path, "--server", again)
    assert done.exit_code == 0, done.output
    assert "11 frames: same ids" in done.output  # the tracked ones, and the one with boxes
    for number in (3, 5, 7, 11):  # later ones depend on those that failed
        explanation = await explain(recording, number, networks())
        assert explanation.ids == explanation.recorded_ids == [1]
    with pytest.raises(ValueError, match=r"frame 4 was not tracked;.* nearest: 3 and 5"):
        await explain(recording, 4, networks())


async def test_a_video_whose_recording_was_cut_off_is_replayed_and_explained(tmp_path: Path, again: str) -> None:
    recording, _ = await recorded_as_sent(tmp_path, units(12, b_frames=2), networks(), codec=pose_pb2.CODEC_H264)
    cut = tmp_path / "cut"
    with cut.open("wb") as file:
        file.write(MAGIC)
        for kind, time_s, payload, _ in records(recording.path):
            file.write(pack(kind, time_s, payload))
            # Unit 3 was decoded before this one, which depends on it, but is shown later.
            if kind is Kind.RESPONSE and track_pb2.TrackResponse.FromString(payload).tracked.number == 4:
                break
    left = Recording.read(cut)
    assert left.outcomes.keys() == {0, 1, 2, 4}
    done = await posewire("replay", cut, "--server", again)
    assert done.exit_code == 0, done.output
    assert "4 frames: same ids" in done.output
    assert (await explain(left, 4, networks())).ids == [1]


async def test_a_number_that_comes_again_hides_no_frame(tmp_path: Path, again: str) -> None:
    frames = [track_pb2.Frame(number=number, data=jpeg(picture(number))) for number in (0, 1, 1, 2)]
    recording, _ = await recorded_as_sent(tmp_path, frames, networks(), codec=pose_pb2.CODEC_JPEG)
    assert all(isinstance(each, track_pb2.TrackedFrame) for each in recording.outcomes.values())
    assert [frame.number for frame in recording.frames_to_repeat()] == [0, 1, 2]
    done = await posewire("replay", recording.path, "--server", again)
    assert done.exit_code == 0, done.output
    assert (await explain(recording, 1, networks())).ids == [1, 2]


class NotedFlow(StillFlow):
    """Appends its name to a list for every pair."""

    def __init__(self, name: str, asked: list[str]) -> None:
        self._name, self._asked = name, asked

    def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        self._asked += [self._name] * len(pairs)
        return super().__call__(pairs)


@pytest.mark.parametrize(
    ("captured_ms", "asked"),
    [
        ([0, 500, 1000, 1040, 1540], ["far", "far", "near", "far"]),  # by the gaps between the frames
        ([None, 500, 1000, 1040, 1540], ["near"] * 4),  # times of arrival do not count
    ],
)
async def test_flow_is_estimated_by_whom_it_was_estimated(
    tmp_path: Path, captured_ms: list[int | None], asked: list[str]
) -> None:
    def by_gap(noted: list[str]) -> Networks:
        return replace(networks(), flow=FlowByGap(NotedFlow("near", noted), NotedFlow("far", noted)))

    frames = [track_pb2.Frame(number=number, data=jpeg(picture(number))) for number in range(5)]
    for frame, each_ms in zip(frames, captured_ms, strict=True):
        if each_ms is not None:
            frame.capture_time.FromMilliseconds(each_ms)
    then: list[str] = []
    recording, _ = await recorded_as_sent(tmp_path, frames, by_gap(then), codec=pose_pb2.CODEC_JPEG)
    assert then[-4:] == asked  # preceded by the warm-up
    now: list[str] = []
    await explain(recording, 4, by_gap(now))
    assert now == asked


async def test_a_unit_whose_number_was_used_before_changes_no_time(tmp_path: Path) -> None:
    frames = units(6)
    for number, frame in enumerate(frames):
        frame.capture_time.FromMilliseconds(500 * number)
    frames.insert(3, frames[2])
    then: list[str] = []
    now: list[str] = []
    by_gap = [
        replace(networks(), flow=FlowByGap(NotedFlow("near", each), NotedFlow("far", each))) for each in (then, now)
    ]
    recording, _ = await recorded_as_sent(tmp_path, frames, by_gap[0], codec=pose_pb2.CODEC_H264)
    await explain(recording, 5, by_gap[1])
    assert now == then[-5:] == ["far"] * 5


async def test_the_last_frames_of_a_video_are_explained_though_they_come_late(tmp_path: Path) -> None:
    recording, answers = await recorded_as_sent(tmp_path, units(12, b_frames=2), networks(), codec=pose_pb2.CODEC_H264)
    assert answers.tracked.keys() == set(range(12))
    for number in (10, 11):
        assert (await explain(recording, number, networks())).ids == [1]


async def test_what_a_server_of_larger_limits_recorded_is_explained(tmp_path: Path) -> None:
    large = picture(0, size=(4000, 4000))
    frames = [track_pb2.Frame(number=0, data=jpeg(large))]
    assert large.shape[0] * large.shape[1] > LimitsConfig().max_frame_pixels
    recording, _ = await recorded_as_sent(
        tmp_path, frames, networks(), limits=LimitsConfig(max_frame_pixels=2**24), codec=pose_pb2.CODEC_JPEG
    )
    assert (await explain(recording, 0, networks())).ids == [1, 2]


async def test_every_candidate_of_a_frame_is_explained(tmp_path: Path) -> None:
    recording = Recording.read(await recorded(tmp_path))
    explanation = await explain(recording, 6, networks())
    assert explanation.detector_ran
    assert explanation.ids == explanation.recorded_ids == [1, 2, 3]
    assert sorted(pose.id for pose in explanation.poses if pose.id) == [1, 2, 3]
    (newcomer,) = [pose for pose in explanation.poses if pose.id == 3]
    assert [candidate.track for candidate in newcomer.candidates] in ([1, 2], [2, 1])
    with pytest.raises(ValueError, match=r"frame 99 .*; 12 of the frames 0\.\.11 were tracked, nearest: 11"):
        await explain(recording, 99, networks())
    for outcome in recording.outcomes.values():
        outcome.detect_every = 100  # type: ignore[union-attr]  as under load
    explanation = await explain(recording, 6, networks())
    assert not explanation.detector_ran
    assert (explanation.ids, explanation.recorded_ids) == ([1, 2], [1, 2, 3])
    assert sorted(pose.id for pose in explanation.poses if pose.id) == [1, 2]
    recording.outcomes[6].elapsed = 4000.0  # type: ignore[union-attr]  after so long, nobody is known
    assert min((await explain(recording, 6, networks())).ids) == 3


async def test_explain_prints_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await recorded(tmp_path)
    asked = []

    def load(config: ServerConfig) -> Networks:
        asked.append((config.bundle, config.detector, config.flow, config.flip_test))
        return networks()

    monkeypatch.setattr("posewire_server.inference.networks.load_networks", load)
    done = await posewire("explain", path, "--frame", 6)
    assert done.exit_code == 0, done.output
    assert "ids 1, 2, 3" in done.output
    assert "new id 3" in done.output
    assert "highest similarity of all open pairs" in done.output
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal
    monkeypatch.setenv("COLUMNS", "40")
    others = ("--bundle", "other", "--detector", "onnx:other.onnx", "--flow", "dis")
    done = await posewire("explain", path, "--frame", 6, *others)
    assert "similarity  " in done.output
    assert "\N{HORIZONTAL ELLIPSIS}" not in done.output  # nothing was truncated
    assert asked == [("stand-in", "auto", "auto", False), ("other", "onnx:other.onnx", "dis", None)]
    done = await posewire("explain", path, "--frame", 6, "--flow", "other")
    assert (done.exit_code, "unknown flow estimator 'other'" in done.output) == (2, True)


async def test_explain_loads_no_networks_for_a_frame_that_it_cannot_explain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posewire_server.inference.networks.load_networks", lambda config: pytest.fail("loaded"))
    done = await posewire("explain", await recorded(tmp_path), "--frame", 99)
    assert done.exit_code == 1
    assert "frame 99 is not in the recording; " in done.output


async def test_explain_by_networks_that_cannot_run_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await recorded(tmp_path)
    other = replace(networks(), joint_set=replace(COCO17, name="other17"))
    monkeypatch.setattr("posewire_server.inference.networks.load_networks", lambda config: networks(detector=None))
    done = await posewire("explain", path, "--frame", 6)
    assert done.exit_code == 1
    assert "posewire: these networks cannot run the recording: " in done.output
    assert "has no person detector" in done.output
    folder = tmp_path / "other"
    frames = [track_pb2.Frame(number=0, data=jpeg(picture()))]
    recording, _ = await recorded_as_sent(folder, frames, other, codec=pose_pb2.CODEC_JPEG)
    monkeypatch.setattr("posewire_server.inference.networks.load_networks", lambda config: networks())
    done = await posewire("explain", recording.path, "--frame", 0)
    assert done.exit_code == 1
    assert "joint_set is 'other17'" in done.output
    assert "--bundle" in done.output


async def test_explain_says_why_ids_of_a_continued_stream_have_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = server_config(record=tmp_path)
    async with running_server(config, networks()) as address, connected(address) as stub:
        first = TrackClient(stub)
        await first.open(pose_pb2.CODEC_JPEG, drop_policy=ALL)
        for number, step in enumerate((0, 40, 1, 41)):  # far apart: all are new people
            await first.send(number, jpeg(picture(step, people=1)))
        token = (await first.finish()).token
        second = TrackClient(stub)
        resume = settings_pb2.ResumeRequest(token=token, last_frame=jpeg(picture(41, people=1)))
        await second.open(pose_pb2.CODEC_JPEG, drop_policy=ALL, resume=resume)
        await second.send(4, jpeg(picture(90, people=1)))
        assert (await second.finish()).ids(4) == [3]
    (path,) = (each for each in files(tmp_path) if Recording.read(each).started.resume.resumed)
    monkeypatch.setattr("posewire_server.inference.networks.load_networks", lambda config: networks())
    done = await posewire("explain", path, "--frame", 4)
    assert done.exit_code == 0, done.output
    assert "the recording has ids 3 here, this run has 1; the recorded stream continued an earlier one" in done.output


async def test_a_detector_that_ran_less_often_is_told_of_once(tmp_path: Path) -> None:
    recording = Recording.read(await recorded(tmp_path))
    assert list(_notes(recording)) == []
    stretched = track_pb2.TrackedFrame(number=1, detect_every=4)
    (note,) = _notes(replace(recording, outcomes={**recording.outcomes, 1: stretched}))
    assert "the detector ran less often than requested" in note


async def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "a.mp4"
    other.write_bytes(np.random.default_rng(0).bytes(1000))
    for command in (("replay", other), ("explain", other, "--frame", 1), ("replay", tmp_path / "nowhere")):
        done = await posewire(*command)
        assert done.exit_code == 1
        assert "posewire: " in done.output


def records_of(path: Path, kind: Kind) -> list[Record]:
    return [record for record in records(path) if record.kind is kind]


def damage(path: Path, offset: int, value: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] = value
    path.write_bytes(content)


async def test_what_lies_before_damage_is_compared_and_is_no_success(tmp_path: Path, again: str) -> None:
    path = await recorded(tmp_path)
    at = records_of(path, Kind.RESPONSE)[4].offset  # the first one is the start of the stream
    damage(path, at + 40, 0xFF)
    for flags in ((), ("--quiet",)):
        done = await posewire("replay", path, "--server", again, *flags)
        assert done.exit_code == 1
        assert f"damaged at byte {at}: the checksum of a record is wrong" in done.output
        assert "compared up to there: 3 frames" in done.output
        assert "has no end" not in done.output


async def test_a_record_of_another_kind_is_damage(tmp_path: Path, again: str) -> None:
    path = await recorded(tmp_path)
    *_, (_, time_s, payload, at) = records_of(path, Kind.REQUEST)
    path.write_bytes(path.read_bytes()[:at] + pack(Kind.END, time_s, payload))
    done = await posewire("replay", path, "--server", again)
    assert done.exit_code == 1
    assert f"damaged at byte {at}: invalid end record" in done.output


async def test_a_recording_without_a_frame_to_compare_is_no_success(tmp_path: Path, again: str) -> None:
    path = await recorded(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: records_of(path, Kind.RESPONSE)[1].offset + 20])
    for flags in ((), ("--quiet",)):
        done = await posewire("replay", path, "--server", again, *flags)
        assert done.exit_code == 1
        assert "has no frame to compare" in done.output
    path.write_bytes(content[: records_of(path, Kind.REQUEST)[0].offset + 20])
    done = await posewire("replay", path, "--server", again)
    assert done.exit_code == 1
    assert "ends before its stream began" in done.output


async def test_a_recording_that_was_cut_off_is_compared_as_far_as_it_goes(tmp_path: Path, again: str) -> None:
    path = await recorded(tmp_path)
    path.write_bytes(path.read_bytes()[: records_of(path, Kind.RESPONSE)[4].offset + 20])
    done = await posewire("replay", path, "--server", again)
    assert done.exit_code == 0, done.output
    assert "the recording has no end" in done.output
    assert "3 frames: same ids" in done.output


async def test_explain_tells_of_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await recorded(tmp_path)
    at = records_of(path, Kind.RESPONSE)[4].offset
    damage(path, at + 40, 0xFF)
    monkeypatch.setattr("posewire_server.inference.networks.load_networks", lambda config: networks())
    for frame, status in ((2, 0), (6, 1)):  # before and after the damage
        done = await posewire("explain", path, "--frame", frame)
        assert done.exit_code == status
        assert f"damaged at byte {at}" in done.output


async def test_a_recording_that_is_gone_meanwhile_ends_the_replay(
    tmp_path: Path, again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server that writes a recording may delete it, to make room, or because its stream has ended."""
    path, read = await recorded(tmp_path), Recording.read

    def read_and_lose(path: Path) -> Recording:
        recording = read(path)
        path.unlink()
        return recording

    monkeypatch.setattr(Recording, "read", read_and_lose)
    done = await posewire("replay", path, "--server", again)
    assert done.exit_code == 1
    assert f"{path}: No such file or directory" in done.output


async def test_a_server_that_drains_ends_the_replay_and_finds_no_difference(tmp_path: Path) -> None:
    path, gate = await recorded(tmp_path), Gate()
    gate.open.set()
    server = await PoseServer.start(server_config(), networks(pose=gate))
    gate.open.clear()
    gate.reached.clear()
    replaying = asyncio.create_task(posewire("replay", path, "--server", server.address))
    await asyncio.to_thread(gate.reached.wait, 30)  # by the first frame
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0.1)  # until its streams know
    gate.open.set()
    done = await replaying
    await stopping
    assert done.exit_code != 0
    assert "differ" not in done.output
    assert re.search(r"the server is going away: [01] of 12 frames were compared; replay again", done.output)


async def test_a_killed_server_leaves_a_recording(tmp_path: Path, again: str) -> None:
    with serving(tmp_path, "--record", str(tmp_path / "recordings")) as server:
        async with AsyncClient(server.address, reconnect=None) as client, client.track() as stream:
            for number in range(6):
                await stream.send(picture(number))
                await anext(stream)
            server.kill()
    path = only_file(tmp_path / "recordings")
    assert path.suffix == ".part"
    done = await posewire("replay", path, "--server", again)
    assert done.exit_code == 0, done.output
    assert "its server was killed" in done.output
    assert re.search("[456] frames: same ids", done.output)  # the last ones may not have been written yet

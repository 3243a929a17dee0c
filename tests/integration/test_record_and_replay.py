"""A stream that is recorded, run again, and explained."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from posewire import AsyncClient
from posewire.cli.application import app
from posewire_server.recording.explanation import explain
from posewire_server.recording.recording import Recording
from posewire_server.server import running_server
from tests.integration.service_calls import LATEST, TrackClient, connected, server_config
from tests.processes.server_process import serving
from tests.server.stand_ins import ShyPose, jpeg, networks, picture
from tests.server.videos import Codec, encode


async def posewire(*arguments: object) -> Any:
    """The command, in a thread, while servers run in the test's loop."""
    return await asyncio.to_thread(CliRunner().invoke, app, [str(argument) for argument in arguments])


async def recorded(folder: Path, **options: Any) -> Path:
    """The recording of a stream in which somebody comes in frame 6."""
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


def only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.pwrec*")
    return path


@pytest.fixture
async def again() -> AsyncIterator[str]:
    async with running_server(server_config(), networks()) as address:
        yield address


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


async def test_a_replay_by_other_networks_says_which(tmp_path: Path) -> None:
    path = await recorded(tmp_path)
    others = networks()
    others = replace(others, names=replace(others.names, flow="DIS", bundle_version=2))
    async with running_server(server_config(), others) as address:
        done = await posewire("replay", path, "--server", address)
    assert "recorded with other networks: flow still, now DIS; bundle_version 1, now 2" in done.output


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


async def test_every_candidate_of_a_frame_is_explained(tmp_path: Path) -> None:
    recording = Recording.read(await recorded(tmp_path))
    explanation = await explain(recording, 6, networks())
    assert explanation.detector_ran
    assert explanation.ids == explanation.recorded_ids == [1, 2, 3]
    assert sorted(pose.id for pose in explanation.poses if pose.id) == [1, 2, 3]
    (newcomer,) = [pose for pose in explanation.poses if pose.id == 3]
    assert [candidate.track for candidate in newcomer.candidates] in ([1, 2], [2, 1])
    with pytest.raises(ValueError, match=r"frame 99 is not in the recording; tracked are 12 frames, 0\.\.11"):
        await explain(recording, 99, networks())


async def test_explain_prints_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await recorded(tmp_path)
    monkeypatch.setattr("posewire_server.networks.load_networks", lambda config: networks())
    done = await posewire("explain", path, "--frame", 6)
    assert done.exit_code == 0, done.output
    assert "ids 1, 2, 3" in done.output
    assert "fresh id 3" in done.output
    assert "highest similarity of all open pairs" in done.output


async def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "a.mp4"
    other.write_bytes(np.random.default_rng(0).bytes(1000))
    for command in (("replay", other), ("explain", other, "--frame", 1), ("replay", tmp_path / "nowhere")):
        done = await posewire(*command)
        assert done.exit_code == 1
        assert "posewire: " in done.output


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

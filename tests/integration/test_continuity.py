"""Server processes that are killed, drained and restarted, and clients that continue nevertheless."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

import posewire
from posewire import Client, FrameResult, Reconnected, SourceFrame
from posewire.sources import ArraySource
from posewire.synth import Scene, SceneConfig
from posewire_server.recording.file_format import FINISHED
from tests.processes.server_process import ServerProcess, serving
from tests.server.stand_ins import picture


def ids(result: FrameResult) -> list[int]:
    return sorted(person.id for person in result.people)


def walk(frames: int, people: int = 3) -> Iterator[Any]:
    """People side by side who walk to and fro."""
    for number in range(frames):
        yield picture(abs(number % 40 - 20), people=people)


def disturbed(
    client: Client, source: Any, disturb: dict[int, Callable[[], object]], **options: Any
) -> tuple[list[FrameResult], list[Reconnected], posewire.StreamSummary]:
    """Track a source to its end; at certain results, an action is performed on the server."""
    events: list[Reconnected] = []
    results = []
    with client.track(source, on_reconnect=events.append, **options) as stream:
        for result in stream:
            results.append(result)
            if result.frame in disturb:
                disturb.pop(result.frame)()
    assert not disturb, "the stream ended before it was disturbed"
    assert stream.summary is not None
    assert stream.summary.frames == stream.summary.tracked + stream.summary.failed + stream.summary.dropped
    return results, events, stream.summary


def restarted(server: ServerProcess) -> Callable[[], None]:
    def kill_and_start() -> None:
        server.kill()
        server.start()

    return kill_and_start


# -- the real thing ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scene() -> list[SourceFrame]:
    """A synthetic scene of people who cross, with their true boxes."""
    config = SceneConfig.preset("crossing", width=320, height=240, people=3, frames=24)
    frames = []
    for number, frame in enumerate(Scene(config)):
        boxes = frame.truth.boxes
        extended = (boxes[:, 2:] - boxes[:, :2] > 4).all(axis=1)
        frames.append(SourceFrame(number, number / 25, image=frame.image, boxes=boxes[extended]))
    return frames


def test_a_killed_server_costs_no_identity(tmp_path: Path, scene: list[SourceFrame]) -> None:
    """With the nano bundle and no dropped frames, a run with a kill gives the same ids and joints as one without."""
    # Between frames this close to each other, DIS is used in any case.
    flags = ("--detector", "none", "--flow", "dis")
    with serving(tmp_path, *flags, stand_ins=False) as server, Client(server.address) as client:
        whole, _, _ = disturbed(client, scene, {})
        results, events, summary = disturbed(client, scene, {10: restarted(server)})
    assert [result.frame for result in results] == list(range(len(scene)))
    assert all(result.tracked for result in results)
    assert [ids(result) for result in results] == [ids(result) for result in whole]
    assert max(max(ids(result), default=0) for result in whole) >= 3
    assert [event.resumed for event in events] == [True]
    assert summary.reconnects == 1
    for ours, theirs in zip(results, whole, strict=True):
        for one, other in zip(ours.people, theirs.people, strict=True):
            np.testing.assert_allclose(one.joints, other.joints, atol=1e-3)


# -- with stand-ins ----------------------------------------------------------------------------------------------------


def paced(frames: Iterable[Any], pace: threading.Semaphore) -> Iterator[Any]:
    """A camera whose frames the test releases one by one."""
    for frame in frames:
        pace.acquire()
        yield frame


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for several tests, each of which leaves it running."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, "--resume-key", str(folder / "resume.key")) as process:
        yield process


def test_a_camera_keeps_its_ids_through_a_kill(server: ServerProcess) -> None:
    """Frames during the outage are lost; people who are still near their last position keep their ids."""
    with Client(server.address) as client:
        pace = threading.Semaphore(3)
        slowly = (picture(number // 8, people=3) for number in range(30))
        camera = ArraySource(paced(slowly, pace), live=True)
        seen: list[FrameResult] = []
        events: list[Reconnected] = []
        back = threading.Event()

        def note(event: Reconnected) -> None:
            events.append(event)
            back.set()

        with client.track(camera, on_reconnect=note) as stream:
            for result in stream:
                seen.append(result)
                if result.frame == 4:
                    server.kill()
                if result.frame == 8:  # frames were lost meanwhile
                    server.start()
                    assert back.wait(60)
                pace.release()
            summary = stream.summary
    assert summary is not None
    assert summary.frames == 30 == summary.tracked + summary.dropped
    assert summary.reconnects == len(events) == 1
    assert events[0].resumed
    assert {result.reason for result in seen if result.dropped} <= {"disconnected", "superseded"}
    assert {tuple(ids(result)) for result in seen if result.tracked} == {(1, 2, 3)}
    assert len([result for result in seen if result.tracked and result.frame > 8]) > 5


def test_a_drained_server_that_is_started_again_is_one_reconnect(server: ServerProcess) -> None:
    with Client(server.address) as client:

        def redeploy() -> None:
            assert server.terminate() < 30
            assert server.exit_status == 0
            server.start()

        results, events, summary = disturbed(client, walk(60), {20: redeploy})
    assert [result.tracked for result in results] == [True] * 60
    assert {tuple(ids(result)) for result in results} == {(1, 2, 3)}
    assert len(events) == summary.reconnects == 1
    assert events[0].resumed


def test_another_server_takes_over_if_it_has_the_same_key(tmp_path: Path) -> None:
    keys = [("--resume-key", str(tmp_path / f"{name}.key")) for name in ("ours", "ours", "theirs")]
    with (
        serving(tmp_path / "a", *keys[0]) as first,
        serving(tmp_path / "b", *keys[1]) as second,
        serving(tmp_path / "c", *keys[2]) as stranger,
        Client([first.address, second.address, stranger.address]) as client,
    ):
        results, events, _ = disturbed(client, walk(40), {10: first.kill, 25: second.kill})
        assert [event.address for event in events] == [second.address, stranger.address]
    assert [event.resumed for event in events] == [True, False]
    assert "not signed with this server's key" in events[1].refusal
    assert [result.reconnected for result in results if result.reconnected is not None] == events
    assert {tuple(ids(result)) for result in results} == {(1, 2, 3)}  # the stranger's ids restart at 1


@pytest.mark.skipif(not torch.backends.cuda.is_built(), reason="needs a torch that is built with CUDA")
@pytest.mark.parametrize(
    ("how", "says", "failed"),
    [
        ({}, "posewire: the GPU has failed, and refuses all work of this process; start the server", range(1, 10)),
        (
            {"POSEWIRE_TEST_GPU_HANGS": "1"},
            "posewire: the GPU hangs: a call has not returned for 120 s; start the server",
            range(1),  # the frame of that call is sent to the other server
        ),
    ],
    ids=["it refuses work", "it hangs"],
)
def test_a_server_whose_gpu_has_failed_for_good_hands_over_and_ends(
    how: dict[str, str], says: str, failed: range, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ("--resume-key", str(tmp_path / "key"))
    with serving(tmp_path / "b", *key) as second:
        for name, value in {"POSEWIRE_TEST_GPU_FRAMES": "12", **how}.items():
            monkeypatch.setenv(name, value)
        flags = ("--drain-grace-s", "1", "--record", str(tmp_path / "recordings"))
        with serving(tmp_path / "a", *key, *flags) as first, Client([first.address, second.address]) as client:
            results, events, summary = disturbed(client, walk(40), {})
            first.wait()
    assert first.exit_status == 1
    assert says in first.log.read_text()
    assert [recording.suffix for recording in (tmp_path / "recordings").iterdir()] == [FINISHED]
    assert [(event.address, event.resumed) for event in events] == [(second.address, True)]
    assert summary.failed in failed
    assert {tuple(ids(result)) for result in results if result.people} == {(1, 2, 3)}


def test_a_stream_goes_on_as_it_began_where_the_next_server_has_other_defaults(tmp_path: Path) -> None:
    key = ("--resume-key", str(tmp_path / "key"))
    settings = tmp_path / "first.toml"
    settings.write_text("[tracker]\nqueue_length = 7\nmatch_threshold = 0.123456789\n")
    with (
        serving(tmp_path / "a", *key, "--config", str(settings)) as first,
        serving(tmp_path / "b", *key) as second,
        Client([first.address, second.address]) as client,
    ):
        results, events, _ = disturbed(client, walk(20), {10: first.kill})
    assert [event.resumed for event in events] == [True]
    assert {tuple(ids(result)) for result in results} == {(1, 2, 3)}


def test_the_command_line_says_that_it_reconnected_and_loses_nothing(tmp_path: Path, server: ServerProcess) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, pixels in enumerate(walk(80)):
        cv2.imwrite(str(folder / f"{number:04}.png"), pixels)
    out = tmp_path / "out.jsonl"
    command = [sys.executable, "-m", "posewire", "track", str(folder), "--server", server.address]
    process = subprocess.Popen([*command, "--out", str(out)], stderr=subprocess.PIPE, text=True)
    try:
        while not (out.exists() and out.read_text().count("\n") > 10):
            assert process.poll() is None, process.communicate()[1]
        server.kill()
        server.start()
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, errors
    assert errors.count("reconnected to") == 1
    assert "ids go on" in errors
    _, *frames = map(json.loads, out.read_text().splitlines())
    assert len(frames) == 80
    assert {tuple(sorted(person["id"] for person in frame["people"])) for frame in frames} == {(1, 2, 3)}

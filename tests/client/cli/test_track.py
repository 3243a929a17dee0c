"""`track` and `demo` with a running server: names of sources, lengths, and early ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import pytest
from typer.testing import CliRunner

from posewire import TrackerSettings
from posewire.cli.application import app
from posewire.cli.private_server import ServerChoice
from posewire.cli.track import TrackJob, run_track
from posewire.synth import SceneConfig
from tests.client.tcp_camera import hung_up_camera
from tests.server.serving import serving
from tests.server.stand_ins import jpeg, networks, picture

FRAMES = 20


@pytest.fixture
def server() -> Iterator[str]:
    with serving(networks()) as address:
        yield address


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def camera(tmp_path: Path, make_video: Callable[..., Path]) -> Iterator[str]:
    """The address, with a password, of a video of 10 frames per second."""
    make_video(tmp_path / "yard.mp4", frames=FRAMES, size=(320, 240), fps=10)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(tmp_path))) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        try:
            yield f"http://admin:secret@127.0.0.1:{http.server_port}/yard.mp4"
        finally:
            http.shutdown()
            thread.join()


def run(*arguments: object) -> Any:
    return CliRunner(env={"COLUMNS": "120", "TERM": "dumb"}).invoke(app, [str(each) for each in arguments])


def test_a_password_is_neither_written_nor_shown(server: str, camera: str, tmp_path: Path) -> None:
    out, video = tmp_path / "out.jsonl", tmp_path / "out.mp4"
    tracked = run("track", camera, "--server", server, "--out", out)
    shown = run("demo", camera, "--server", server, "--render", video)
    for result in (tracked, shown):
        assert result.exit_code == 0, result.stderr
        assert "secret" not in result.output
    assert json.loads(out.read_text().splitlines()[0])["source"].endswith("/yard.mp4")
    assert "secret" not in out.read_text()
    assert "/yard.mp4, people found by rectangles" in shown.stderr


def test_whoever_watches_sees_that_a_pipe_is_waited_for(
    server: str, tmp_path: Path, make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe, out, terminal = tmp_path / "pipe", tmp_path / "out.jsonl", io.StringIO()
    os.mkfifo(pipe)
    video = make_video(tmp_path / "a.ts").read_bytes()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    said: list[bool] = []

    def write() -> None:
        deadline_s = time.monotonic() + 20
        while "opening the source" not in terminal.getvalue() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        said.append("opening the source" in terminal.getvalue())
        pipe.write_bytes(video)

    writer = threading.Thread(target=write)
    writer.start()
    run_track(TrackJob(str(pipe), ServerChoice(server), TrackerSettings(), out))
    writer.join()
    assert said == [True]
    assert len(out.read_text().splitlines()) == 1 + FRAMES


@pytest.mark.parametrize(("flags", "status", "frames"), [((), 1, FRAMES), (("--reopen-for", 60), 0, FRAMES + 5)])
def test_a_camera_that_hangs_up(
    flags: tuple[object, ...], status: int, frames: int, server: str, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    video, out = make_video(tmp_path / "a.ts", frames=FRAMES).read_bytes(), tmp_path / "out.jsonl"
    with hung_up_camera(video, *(video for _ in flags[:1])) as address:
        result = run("track", address, "--server", server, "--max-frames", FRAMES + 5, "--out", out, *flags)
    assert result.exit_code == status, result.stderr
    numbers = [json.loads(line)["frame"] for line in out.read_text().splitlines()[1:]]
    assert numbers == list(range(frames))


def test_options_of_the_source(server: str, make_video: Callable[..., Path], tmp_path: Path) -> None:
    """Such a file does not tell its frame rate."""
    video, out = make_video(tmp_path / "a.h264", frames=FRAMES, options={"bf": "0"}), tmp_path / "out.jsonl"
    result = run("track", video, "--server", server, "--out", out, "--source-option", "framerate=5")
    assert result.exit_code == 0, result.stderr
    assert [json.loads(line)["time_s"] for line in out.read_text().splitlines()[1:4]] == [0.0, 0.2, 0.4]
    for unnamed in ("=secret", "secret"):
        result = run("track", video, "--server", server, "--source-option", unnamed)
        assert result.exit_code == 2
        assert "--source-option is NAME=VALUE" in result.stderr
        assert "secret" not in result.stderr


@pytest.mark.parametrize(("seconds", "frames"), [(0.5, 5), (0.1, 1), (9, FRAMES)])
def test_seconds_are_those_of_the_source(server: str, camera: str, tmp_path: Path, seconds: float, frames: int) -> None:
    """An address, whose frame rate is not known before it is opened."""
    result = run("demo", camera, "--server", server, "--render", tmp_path / "out.mp4", "--seconds", seconds)
    assert result.exit_code == 0, result.stderr
    assert f"{frames} tracked, 0 failed, 0 dropped" in result.stdout


def test_a_source_may_be_longer_than_any_scene(server: str, camera: str, tmp_path: Path) -> None:
    most = SceneConfig().fps * 1e6
    result = run("demo", camera, "--server", server, "--render", tmp_path / "out.mp4", "--seconds", most)
    assert result.exit_code == 0, result.stderr


def test_brackets_in_a_name_are_no_markup(server: str, camera: str, tmp_path: Path) -> None:
    (tmp_path / "a[").mkdir()
    (tmp_path / "yard.mp4").rename(tmp_path / "a[" / "b] [bold] :car:.mp4")
    named = f"{tmp_path}/a[/b] [bold] :car:.mp4"
    result = run("demo", named, "--server", server, "--render", tmp_path / "out.mp4", "--frames", 2)
    assert result.exit_code == 0, result.stderr
    assert f"posewire demo: {named}, people" in result.stderr


def test_info_shows_what_networks_are_called() -> None:
    odd = networks()
    odd = replace(odd, names=replace(odd.names, bundle="[bold]mine", pose="net[/3] :car:"))
    with serving(odd) as address:
        result = run("info", "--server", address)
    assert result.exit_code == 0
    assert "[bold]mine, version 1" in result.stdout
    assert "net[/3] :car:, 17 joints" in result.stdout


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A folder of 2,000 pictures, 20 of which differ."""
    folder = tmp_path / "endless"
    folder.mkdir()
    for step in range(20):
        (folder / f"{step}.jpg").write_bytes(jpeg(picture(step, size=(96, 320))))
    for step in range(20, 2000):
        (folder / f"{step}.jpg").hardlink_to(folder / f"{step % 20}.jpg")
    return folder


@contextmanager
def tracking(source: Path, server: str, results: Path, stderr: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has written some results."""
    results.mkdir()
    out = results / "out.jsonl"
    command = [sys.executable, "-m", "posewire", "track", str(source), "--server", server, "--out", str(out)]
    with subprocess.Popen([*command, "--render", str(results / "out.mp4")], stderr=stderr, text=True) as ours:
        try:
            deadline_s = time.monotonic() + 60
            while not (out.exists() and out.read_text().count("\n") > 3):
                assert ours.poll() is None
                assert time.monotonic() < deadline_s
                time.sleep(0.01)
            yield ours
        finally:
            ours.kill()


def check_whole(results: Path) -> None:
    with av.open(str(results / "out.mp4")) as container:
        lines = (results / "out.jsonl").read_text().splitlines()
        assert sum(1 for _ in container.decode(video=0)) == len(lines) - 1
    assert sorted(os.listdir(results)) == ["out.jsonl", "out.mp4"]


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_kill_leaves_whole_files(
    number: signal.Signals, times: int, server: str, endless: Path, tmp_path: Path
) -> None:
    results = tmp_path / "results"
    with tracking(endless, server, results, subprocess.PIPE) as ours:
        for _ in range(times):
            ours.send_signal(number)
            time.sleep(0.01)  # else they are one
        _, said = ours.communicate(timeout=60)
    assert ours.returncode in (130, -number), said  # the second one may come when all is done
    assert "interrupted; " in said
    check_whole(results)


def test_a_terminal_that_closes_leaves_whole_files(
    server: str, endless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the bar can no longer be shown."""
    monkeypatch.setenv("TERM", "xterm")
    terminal, theirs = pty.openpty()
    with tracking(endless, server, tmp_path / "results", theirs) as ours:
        os.close(theirs)
        os.close(terminal)
        ours.send_signal(signal.SIGHUP)
        ours.wait(timeout=60)
    assert ours.returncode == 130
    check_whole(tmp_path / "results")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["track", "a.mp4", "--tls", "--token-file", "token", "--insecure"], "--tls, --token-file, --insecure would"),
        (["track", "a.mp4", "--format", "coco"], "--format coco is that of the result file; name one with --out"),
        (["demo", "a.mp4", "--preset", "crowd", "--seed", "4"], "--preset, --seed would change the synthetic scene"),
        (["demo", "--frames", "3", "--seconds", "1"], "--frames and --seconds both say how long it is"),
    ],
)
def test_flags_that_would_have_no_effect_are_refused(arguments: list[str], words: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "a.mp4").write_bytes(b"")
    with contextlib.chdir(tmp_path):
        result = run(*arguments)
    assert result.exit_code == 2
    assert words in result.stderr

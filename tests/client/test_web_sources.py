"""Videos and cameras at addresses of web servers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from posewire import SourceError, open_source
from posewire.settings import Codec
from posewire.sources import _pace, _reopened
from posewire.sources._pace import Pace
from tests.client.web_server import served

MakeVideo = Callable[..., Path]
FRAMES = 15
NO_B_FRAMES = {"bf": "0", "g": "5", "sc_threshold": "0"}


def copied(given: Path, path: Path, options: dict[str, str]) -> None:
    """The packets of a video in another container."""
    with av.open(str(given)) as source, av.open(str(path), "w", options=options) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)


def make_unfinished(path: Path) -> None:
    """Make an FLV as a camera gives it, which does not know how long it will be: 0. Its length is a double."""
    finished = path.read_bytes()
    length = finished.index(b"duration\0") + 9
    path.write_bytes(finished[:length] + bytes(8) + finished[length + 8 :])


@pytest.mark.parametrize(
    ("name", "options", "live"),
    [
        ("a.mp4", {"movflags": "faststart"}, False),
        ("a.mp4?endless", {"movflags": "faststart"}, False),  # as of a program that makes it on the way
        ("a.mp4", {"movflags": "frag_every_frame+empty_moov"}, False),
        ("a.mp4?endless", {"movflags": "frag_every_frame+empty_moov"}, True),
        ("a.flv", {}, False),
        ("a.flv?endless", {}, True),
        ("a.mkv?endless", {"live": "1"}, True),
    ],
)
def test_what_has_no_known_end_is_live(
    name: str, options: dict[str, str], live: bool, tmp_path: Path, make_video: MakeVideo
) -> None:
    given = make_video(tmp_path / "given.mp4", frames=FRAMES, options=NO_B_FRAMES)
    path = tmp_path / name.split("?")[0]
    copied(given, path, options)
    if live and path.suffix == ".flv":
        make_unfinished(path)
    with served(tmp_path) as address:
        source = open_source(f"{address}/{name}", max_frames=FRAMES)
        times_s = [frame.time_s for frame in source]
        source.close()
    assert source.live is live
    assert len(times_s) == FRAMES
    if not live:
        assert times_s == pytest.approx([number / 10 for number in range(FRAMES)], abs=0.001)


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_a_camera_that_announces_sound_and_has_none_is_opened_at_once(
    codec: Codec, tmp_path: Path, make_video: MakeVideo
) -> None:
    path = tmp_path / "a.flv"
    given = make_video(tmp_path / "given.mp4", frames=FRAMES, size=(320, 240), options=NO_B_FRAMES)
    copied(given, path, {})
    make_unfinished(path)
    begun = bytearray(path.read_bytes())
    begun[4] |= 4  # the header's flag of sound
    assert len(begun) > 2048  # with less, FFmpeg does not know the format
    path.write_bytes(begun)
    asked: list[str] = []
    with served(tmp_path, asked) as address:
        source = open_source(f"{address}/a.flv?silent", codec=codec, max_frames=FRAMES - 2)
        assert len(list(source)) == FRAMES - 2  # FFmpeg keeps the last one until it knows how long it lasts
        source.close()
    assert asked == ["/a.flv?silent"]


def test_a_camera_whose_video_begins_after_its_sound(tmp_path: Path, make_video: MakeVideo) -> None:
    copied(make_video(tmp_path / "given.mp4", frames=FRAMES, options=NO_B_FRAMES), tmp_path / "video.flv", {})
    with av.open(str(tmp_path / "sound.flv"), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        for number in range(100):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            sound.sample_rate, sound.pts = 48000, 1024 * number
            container.mux(stream.encode(sound))
        container.mux(stream.encode())
    sound, video = (path.read_bytes() for path in (tmp_path / "sound.flv", tmp_path / "video.flv"))
    header = 13
    (tmp_path / "a.flv").write_bytes(sound[:4] + b"\x05" + sound[5:] + video[header:])
    make_unfinished(tmp_path / "a.flv")
    with served(tmp_path) as address:
        source = open_source(f"{address}/a.flv?endless", max_frames=FRAMES)
        assert len(list(source)) == FRAMES
        source.close()


@pytest.mark.parametrize(
    ("name", "options", "kept", "words"),
    [
        ("a.mkv", {}, 1.0, ""),
        ("a.mkv", {}, 0.6, r"ends after 0\.\d s of 3\.0 s; is the file cut off"),
        ("a.mp4", {"movflags": "faststart"}, 1.0, ""),
        ("a.mp4", {"movflags": "faststart"}, 0.98, r"is cut off: by its index, \d+ bytes"),
        ("a.ts", {}, 1.0, "stopped after 30 frames; is the camera still connected"),
    ],
)
def test_a_server_that_only_closes_the_connection_at_the_end(
    name: str, options: dict[str, str], kept: float, words: str, tmp_path: Path, make_video: MakeVideo
) -> None:
    path = tmp_path / name
    copied(make_video(tmp_path / "given.mp4", frames=2 * FRAMES, options=NO_B_FRAMES), path, options)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    times_s: list[float] = []
    with served(tmp_path) as address:
        source = open_source(f"{address}/{name}?closed")
        with pytest.raises(SourceError, match=words) if words else contextlib.nullcontext():
            times_s.extend(frame.time_s for frame in source)
        source.close()
    if not words:
        assert times_s == pytest.approx([number / 10 for number in range(2 * FRAMES)], abs=0.001)


def test_an_mp4_whose_index_cannot_be_reached(tmp_path: Path, make_video: MakeVideo) -> None:
    copied(make_video(tmp_path / "given.mov", codec="rawvideo"), tmp_path / "a.mov", {})
    with (
        served(tmp_path) as address,
        pytest.raises(SourceError, match=r"or its server cannot give parts of a file, and this MP4 has its index at"),
    ):
        open_source(f"{address}/a.mov")


def test_an_address_of_a_single_picture(tmp_path: Path) -> None:
    (tmp_path / "snapshot").write_bytes(cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes())
    with served(tmp_path) as address:
        frames = iter(open_source(f"{address}/snapshot"))
        assert next(frames).image is not None
        with pytest.raises(SourceError, match="snapshot is a single picture; give the address of the camera's video"):
            next(frames)


def segmented(
    make_video: MakeVideo,
    folder: Path,
    name: str,
    *,
    ended: bool,
    size: tuple[int, int] = (64, 48),
    frames: int = FRAMES,
) -> None:
    """An HLS list of segments of half a second; more may follow unless it has ended."""
    given = make_video(folder / f"{name}.mp4", frames=frames, size=size, options=NO_B_FRAMES)
    options = {"hls_time": "0.5", "hls_list_size": "0", **({} if ended else {"hls_flags": "omit_endlist"})}
    copied(given, folder / f"{name}.m3u8", options)


def test_segments_that_were_read_are_not_read_again(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "wait", lambda *_: None)
    monkeypatch.setattr(_reopened, "_FIRST_WAIT_S", 0.01)
    segmented(make_video, tmp_path, "a", ended=False)
    with served(tmp_path) as address:
        source = open_source(f"{address}/a.m3u8", reopen_for_s=0.1)
        with (tmp_path / "a.m3u8").open("a") as segments:
            segments.write("#EXT-X-ENDLIST\n")  # as when the camera of a media server has stopped
        frames = iter(source)
        for _ in range(FRAMES):
            next(frames)
        with pytest.raises(SourceError, match=r"stopped after 15 .* could not be opened again .* has ended"):
            next(frames)


@pytest.mark.parametrize("ended", [False, True])
def test_segments_of_a_live_stream_are_read_in_real_time(
    ended: bool, tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps_s: list[float] = []
    monkeypatch.setattr(Pace, "wait", lambda _, stamp_s: stamps_s.append(stamp_s))
    segmented(make_video, tmp_path, "a", ended=ended)
    with served(tmp_path) as address:
        source = open_source(f"{address}/a.m3u8", max_frames=FRAMES - 2)  # the last may wait for a segment
        assert len(list(source)) == FRAMES - 2
        source.close()
    assert source.live is not ended
    passed_s = [stamp_s - stamps_s[0] for stamp_s in stamps_s]
    assert passed_s == pytest.approx([] if ended else [number / 10 for number in range(FRAMES - 2)], abs=0.001)


def test_the_largest_rendition_is_read_and_no_other(tmp_path: Path, make_video: MakeVideo) -> None:
    asked: list[str] = []
    entries = ""
    for name, size in (("small", (64, 48)), ("large", (128, 96)), ("other", (64, 48))):
        segmented(make_video, tmp_path, name, ended=True, size=size, frames=60)
        entries += f"#EXT-X-STREAM-INF:BANDWIDTH=100000,RESOLUTION={size[0]}x{size[1]}\n{name}.m3u8\n"
    (tmp_path / "all.m3u8").write_text(f"#EXTM3U\n{entries}")
    with served(tmp_path, asked) as address:
        source = open_source(f"{address}/all.m3u8")
        assert source.size == (128, 96)
        assert len(list(source)) == 60
        source.close()
    assert {f"/large{number}.ts" for number in range(12)} < set(asked)
    assert not {"/small11.ts", "/other11.ts"} & set(asked)  # FFmpeg looks at the beginning of each


class Clock:
    """A clock that only waiting moves on."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def wait(self, seconds: float) -> bool:
        self.now_s += seconds
        return False

    def monotonic(self) -> float:
        return self.now_s


def test_packets_pass_when_they_are_due(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr(_pace, "time", SimpleNamespace(monotonic=clock.monotonic))
    pace = Pace(3600.0)  # of a camera whose keyframes are rare
    monkeypatch.setattr(pace, "_interrupted", SimpleNamespace(wait=clock.wait))

    def passed_s(stamp_s: float, *, later_s: float = 0.0) -> float:
        clock.now_s += later_s
        pace.wait(stamp_s)
        return clock.now_s - 1000

    assert passed_s(70.0) == 0
    assert passed_s(70.5) == pytest.approx(0.5)
    assert passed_s(71.0, later_s=0.8) == pytest.approx(1.3)  # late: those behind it are not, so that nothing adds up
    assert passed_s(71.5) == pytest.approx(1.5)
    assert passed_s(72.0, later_s=4.0) == pytest.approx(5.5)  # it stalled
    assert passed_s(72.5) == pytest.approx(6.0)
    assert passed_s(400.0) == pytest.approx(6.0)  # another clock
    assert passed_s(400.5) == pytest.approx(6.5)
    assert passed_s(3.0) == pytest.approx(6.5)
    assert passed_s(3.5) == pytest.approx(7.0)


def test_a_closed_stream_of_segments_waits_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pace, "_LONGEST_GAP_S", 1e6)
    pace = Pace(2e6)
    pace.wait(0.0)
    pace.interrupt()
    pace.wait(1e5)

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import re
import socket
import struct
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.codec.context import Flags

import posewire
from posewire import InvalidSettings, SourceError, SourceFrame, open_source
from posewire.sources import ArraySource, FolderSource, PacketSource, VideoSource
from posewire.sources._container import VideoInput
from tests.client.rtsp_camera import RtspCamera

MakeVideo = Callable[..., Path]
# A constant, since a traceback shows the lines in which it is used.
PASSWORD = "hush"


def take(source: Any) -> list[SourceFrame]:
    try:
        return list(source)
    finally:
        source.close()


def take_until_error(source: Any) -> tuple[list[SourceFrame], str]:
    """The frames before the source fails, and the error."""
    frames: list[SourceFrame] = []
    try:
        frames.extend(source)
    except SourceError as error:
        return frames, str(error)
    finally:
        source.close()
    return frames, ""


# -- video files -------------------------------------------------------------------------------------------------------


def test_a_video_gives_its_frames_in_order_with_their_times(tmp_path: Path, make_video: MakeVideo) -> None:
    source = open_source(make_video(tmp_path / "a.mp4", frames=20, fps=10))
    assert (source.live, source.fps, source.size, source.frame_count) == (False, 10.0, (64, 48), 20)
    assert source.silence_s is None
    assert source.codec is None
    frames = take(source)
    assert [frame.number for frame in frames] == list(range(20))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 10 for number in range(20)])
    for frame in frames:
        assert frame.image is not None
        assert (frame.image.shape, frame.image.dtype) == ((48, 64, 3), np.uint8)
    brightness = [float(frame.image[40, 50].mean()) for frame in frames if frame.image is not None]
    assert brightness == pytest.approx([10 * number for number in range(20)], abs=6)


def test_colours_are_red_green_blue(tmp_path: Path, make_video: MakeVideo) -> None:
    frame = take(open_source(make_video(tmp_path / "a.mp4", frames=1)))[0]
    assert frame.image is not None
    red, green, blue = frame.image[4, 4].tolist()
    assert red > 150 > 90 > max(green, blue)


@pytest.mark.parametrize(
    ("rotation", "size", "corner"),
    [
        (90, (48, 64), (60, 4)),  # counter-clockwise: the top left corner goes to the bottom left
        (180, (64, 48), (44, 60)),  # to the bottom right
        (-90, (48, 64), (4, 44)),  # clockwise: to the top right
    ],
)
def test_rotation_by_metadata_is_undone(
    tmp_path: Path, make_video: MakeVideo, rotation: int, size: tuple[int, int], corner: tuple[int, int]
) -> None:
    source = open_source(make_video(tmp_path / "a.mp4", frames=2, rotation=rotation))
    assert source.size == size
    image = take(source)[0].image
    assert image is not None
    assert image[corner][0] > 150
    assert image.flags.c_contiguous


# Values a, b, c, d of the display matrix in a track's header -> the picture as displayed.
SHOWN: dict[tuple[int, int, int, int], Callable[[Any], Any]] = {
    (1, 0, 0, 1): lambda image: image,
    (-1, 0, 0, 1): lambda image: image[:, ::-1],
    (1, 0, 0, -1): lambda image: image[::-1],
    (-1, 0, 0, -1): lambda image: image[::-1, ::-1],
    (0, 1, 1, 0): lambda image: image.transpose(1, 0, 2),
    (0, 1, -1, 0): lambda image: image.transpose(1, 0, 2)[:, ::-1],  # clockwise
    (0, -1, 1, 0): lambda image: image.transpose(1, 0, 2)[::-1],  # counter-clockwise
    (0, -1, -1, 0): lambda image: image.transpose(1, 0, 2)[::-1, ::-1],
}


def with_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Change the display matrix of an MP4."""
    data = bytearray(path.read_bytes())
    matrix = (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, *matrix)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("matrix", SHOWN)
def test_a_picture_is_turned_and_mirrored_as_its_matrix_says(
    tmp_path: Path, make_video: MakeVideo, matrix: tuple[int, int, int, int]
) -> None:
    plain = make_video(tmp_path / "plain.mp4", frames=2, options={"bf": "0"})
    turned = with_matrix(make_video(tmp_path / "turned.mp4", frames=2, options={"bf": "0"}), *matrix)
    source = open_source(turned)
    for shown, stored in zip(take(source), take(open_source(plain)), strict=True):
        assert shown.image is not None
        assert np.array_equal(shown.image, SHOWN[matrix](stored.image))
        assert source.size == (shown.image.shape[1], shown.image.shape[0])
        assert shown.image.flags.c_contiguous
    if matrix == (1, 0, 0, 1):
        assert len(take(open_source(turned, codec="h264"))) == 2
    else:
        with pytest.raises(SourceError, match="rotated or mirrored by its metadata"):
            open_source(turned, codec="h264")


def with_orientation(data: bytes, orientation: int) -> bytes:
    """A JPEG with an EXIF header."""
    entry = struct.pack(">HHIHH", 0x112, 3, 1, orientation, 0)
    exif = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def a_jpeg(*options: int) -> bytes:
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    return cv2.imencode(".jpg", noise, options)[1].tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_gives_the_same_pixels_by_itself_as_in_a_folder(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(with_orientation(a_jpeg(), orientation))
    source = open_source(path)
    (alone,), (among,) = take(source), take(open_source(tmp_path))
    assert alone.image is not None
    assert np.array_equal(alone.image, among.image)
    assert source.size == ((64, 48) if orientation < 5 else (48, 64))


def test_a_jpeg_that_is_cut_off_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(a_jpeg()[:-100])
    with pytest.raises(SourceError, match=r"a\.jpg holds no picture .* the JPEG is cut off"):
        open_source(tmp_path / "a.jpg")


def test_pictures_of_a_video_are_turned_as_their_exif_data_says(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream: Any = container.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        packet = av.Packet(with_orientation(a_jpeg(), 6))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 10)
        container.mux(packet)
    assert open_source(tmp_path / "a.mkv").size == (48, 64)


def test_max_frames_stops_early(tmp_path: Path, make_video: MakeVideo) -> None:
    source = open_source(make_video(tmp_path / "a.mp4", frames=20), max_frames=3)
    assert source.frame_count == 3
    assert len(take(source)) == 3
    assert open_source(make_video(tmp_path / "a.mkv", frames=20), max_frames=3).frame_count is None  # not in the header


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_a_video_that_is_cut_off_gives_what_it_has_and_then_an_error(
    tmp_path: Path, make_video: MakeVideo, codec: Any
) -> None:
    whole = make_video(tmp_path / "a.mp4", frames=100, size=(128, 96), options={"bf": "0"}).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) * 2 // 3])
    source = open_source(tmp_path / "cut.mp4", codec=codec)
    frames, error = take_until_error(source)
    assert 0 < len(frames) < 100
    assert "cut.mp4 ends after" in error
    assert "s of 10.0 s" in error


def write_clip(
    path: Path,
    codec: str,
    *,
    sound: str | None = None,
    sound_s: float = 10.0,
    sound_first: bool = False,
    frames: int = 100,
    pause_s: float = 0.0,
    options: dict[str, str] | None = None,
) -> Path:
    """Noise at ten frames per second, of which every tenth may last longer; optionally with a tone."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        speaker: Any = None
        if sound is not None and sound_first:
            speaker = container.add_stream(sound, rate=8000, layout="mono")
        stream: Any = container.add_stream(codec, rate=10, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        if sound is not None and not sound_first:
            speaker = container.add_stream(sound, rate=8000, layout="mono")
        noise, pauses, spoken = np.random.default_rng(1), 0, 0

        def speak(until: int) -> None:
            nonlocal spoken
            for start in range(spoken, until, 800):
                tone = (8000 * np.sin(np.arange(start, start + 800) / 5)).astype(np.int16)
                samples = av.AudioFrame.from_ndarray(tone[None], format="s16", layout="mono")
                samples.sample_rate, samples.pts, samples.time_base = 8000, start, Fraction(1, 8000)
                container.mux(speaker.encode(samples))
                spoken = start + 800

        for number in range(frames):
            picture = av.VideoFrame.from_ndarray(noise.integers(0, 255, (48, 64, 3), np.uint8), format="rgb24")
            pauses += int(10 * pause_s) if number and number % 10 == 0 else 0
            picture.pts, picture.time_base = number + pauses, Fraction(1, 10)
            container.mux(stream.encode(picture))
            if sound is not None:  # beside the pictures, as in any file
                speak(int(8000 * sound_s * (number + 1) / frames))
        container.mux(stream.encode())
        if sound is not None:
            container.mux(speaker.encode())
    return path


@pytest.mark.parametrize(
    ("suffix", "codec", "sound"),
    [
        ("mkv", "libx264", None),
        ("mkv", "libx264", "aac"),  # its header has one length for pictures and sound
        ("flv", "flv1", None),
        ("flv", "flv1", "pcm_s16le"),
        ("avi", "mpeg4", None),  # FFmpeg makes its length fit what is there; the number of frames stays
        ("avi", "mpeg4", "pcm_s16le"),
    ],
)
def test_whatever_the_format_a_video_that_is_cut_off_ends_in_an_error(
    tmp_path: Path, suffix: str, codec: str, sound: str | None
) -> None:
    whole = write_clip(tmp_path / f"whole.{suffix}", codec, sound=sound)
    assert take_until_error(open_source(whole))[1] == ""
    data = whole.read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(data[: len(data) * 2 // 3])
    frames, error = take_until_error(open_source(tmp_path / f"cut.{suffix}"))
    assert 30 < len(frames) < 90
    assert f"cut.{suffix} ends after" in error
    assert "s; is the file cut off?" in error


@pytest.mark.parametrize("kept", [0.6, 0.97])
def test_a_short_video_that_is_cut_off_is_known_by_its_index(tmp_path: Path, kept: float) -> None:
    whole = write_clip(tmp_path / "a.mp4", "libx264", frames=9).read_bytes()  # less than a second
    (tmp_path / "cut.mp4").write_bytes(whole[: int(kept * len(whole))])
    frames, error = take_until_error(open_source(tmp_path / "cut.mp4"))
    assert 0 < len(frames) < 10
    assert re.search(r"cut.mp4 is cut off: by its index, \d+ bytes of the video are missing", error)


@pytest.mark.parametrize(
    ("suffix", "codec", "changes"),
    [
        ("mkv", "libx264", {"sound": "aac", "sound_s": 11.5}),  # sound that goes on for a little
        ("mkv", "libx264", {"sound": "aac", "sound_s": 20}),  # for long
        ("mkv", "libx264", {"sound": "aac", "sound_s": 3}),  # that ends early
        ("mkv", "libx264", {"sound": "aac", "sound_s": 6, "frames": 1}),  # one picture, such as a cover
        ("mkv", "libx264", {"pause_s": 0.7}),  # variable rate
        ("flv", "flv1", {"sound": "pcm_s16le", "sound_s": 20}),
        ("flv", "flv1", {"frames": 1}),
        ("avi", "mpeg4", {"sound": "pcm_s16le", "sound_s": 20}),
        ("avi", "mpeg4", {"pause_s": 0.7}),  # pauses count as frames there
        ("avi", "mpeg4", {"frames": 1}),
        ("mp4", "libx264", {"sound": "aac", "sound_s": 20}),
        ("mp4", "libx264", {"sound": "aac", "sound_first": True}),  # whose decoder is flushed first
    ],
)
def test_a_whole_video_is_not_taken_for_cut_off(
    tmp_path: Path, suffix: str, codec: str, changes: dict[str, Any]
) -> None:
    frames, error = take_until_error(open_source(write_clip(tmp_path / f"a.{suffix}", codec, **changes)))
    assert (len(frames), error) == (changes.get("frames", 100), "")


def copy_video(given: Path, path: Path, *, shift_s: int = 0, last_s: float = 0.1) -> Path:
    """Copy the packets of a video; their times are shifted, and the last picture lasts longer."""
    options = {"movflags": "faststart"} if path.suffix == ".mp4" else {}
    with av.open(str(given)) as source, av.open(str(path), "w", options=options) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux(video=0) if packet.pts is not None and packet.dts is not None]
        packets[-1].duration = int(last_s / packets[-1].time_base)
        for packet in packets:
            shift = int(shift_s / packet.time_base)
            packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, stream
            container.mux(packet)
    return path


@pytest.mark.parametrize("suffix", ["mkv", "flv", "mp4"])
@pytest.mark.parametrize("shift_s", [-3, 60])  # an edit list that leaves frames out; a clock that does not begin at 0
def test_a_video_with_another_clock_is_known_as_whole_or_cut_off(
    tmp_path: Path, make_video: MakeVideo, suffix: str, shift_s: int
) -> None:
    given = make_video(tmp_path / "a.mp4", frames=100, size=(128, 96))
    path = copy_video(given, tmp_path / f"shifted.{suffix}", shift_s=shift_s)
    frames, error = take_until_error(open_source(path))
    assert len(frames) >= 70
    assert error == ""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames, error = take_until_error(open_source(path))
    assert "is the file cut off?" in error, (len(frames), error)


def test_a_last_picture_that_is_shown_for_long_is_not_missing(tmp_path: Path, make_video: MakeVideo) -> None:
    given = make_video(tmp_path / "a.mp4", frames=10, options={"bf": "0"})
    slides = copy_video(given, tmp_path / "slides.mp4", last_s=20)
    assert take_until_error(open_source(slides))[1] == ""
    with av.open(str(slides)) as container:
        assert (container.duration or 0) / av.time_base == pytest.approx(20.9)


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_times_go_on_where_joined_recordings_start_over(tmp_path: Path, make_video: MakeVideo, codec: Any) -> None:
    part = make_video(tmp_path / "part.ts", frames=20, fps=10, options={"bf": "0"}).read_bytes()
    (tmp_path / "joined.ts").write_bytes(2 * part)
    frames = take(open_source(tmp_path / "joined.ts", codec=codec))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 10 for number in range(40)])


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_without_time_stamps_the_rate_gives_the_times(tmp_path: Path, make_video: MakeVideo, codec: Any) -> None:
    source = open_source(make_video(tmp_path / "a.h264", frames=5, fps=25, options={"bf": "0"}), codec=codec)
    assert [frame.time_s for frame in take(source)] == pytest.approx([number / 25 for number in range(5)])


def test_a_damaged_packet_becomes_a_frame_with_a_problem(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4", frames=60, size=(128, 96), options={"bf": "0"})
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][30]
        start, size = packet.pos, packet.size
    data = bytearray(path.read_bytes())
    data[start : start + size] = b"\xff" * size
    path.write_bytes(data)
    frames = take(open_source(path))
    problems = [frame for frame in frames if frame.problem]
    assert [frame.image is None for frame in problems] == [True]
    assert "a.mp4" in problems[0].problem
    assert [frame.number for frame in frames] == list(range(60))
    assert [frame.time_s for frame in frames] == sorted(frame.time_s for frame in frames)


@pytest.mark.parametrize(
    ("encoder", "options", "codec"),
    [
        ("libx264", {"bf": "0", "g": "5", "sc_threshold": "0"}, "h264"),
        ("libx265", {"x265-params": "bframes=0:keyint=5:scenecut=0:log-level=none"}, "h265"),
    ],
)
@pytest.mark.parametrize("damaged", [0, 3, 5])  # the first one; one that others need; a keyframe
def test_a_damaged_packet_that_is_sent_as_it_is_becomes_a_frame_with_a_problem(
    tmp_path: Path, make_video: MakeVideo, encoder: str, options: dict[str, str], codec: Any, damaged: int
) -> None:
    if encoder not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {encoder}")
    path = make_video(tmp_path / "a.mp4", frames=12, codec=encoder, options=options)
    with av.open(str(path)) as container:
        start = [packet.pos for packet in container.demux(video=0) if packet.size][damaged]
    data = bytearray(path.read_bytes())
    data[start : start + 4] = b"\x7f\xff\xff\xff"  # the length of a unit
    path.write_bytes(data)
    frames = take(open_source(path, codec=codec))
    assert [frame.number for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 10 for number in range(12)])
    assert [frame.number for frame in frames if frame.problem] == [damaged]
    assert [frame.number for frame in frames if frame.packet is None] == [damaged]
    assert [frame.number for frame in frames if frame.keyframe] == [each for each in (0, 5, 10) if each != damaged]
    assert "a.mp4 is damaged" in frames[damaged].problem


@pytest.mark.parametrize("codec", ["h264", "passthrough"])
def test_damaged_parameter_sets_are_a_source_error(tmp_path: Path, make_video: MakeVideo, codec: Any) -> None:
    path = make_video(tmp_path / "a.mp4", options={"bf": "0"})
    data = bytearray(path.read_bytes())
    at = data.index(b"avcC") + 10
    data[at : at + 2] = b"\x7f\xff"  # the length of the first one
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"a\.mp4 (are damaged|holds no picture that can be decoded)"):
        open_source(path, codec=codec)


@pytest.mark.parametrize("codec", ["jpeg", "h264", "passthrough"])
def test_a_video_that_nobody_can_decode_is_named(tmp_path: Path, make_video: MakeVideo, codec: Any) -> None:
    path = make_video(tmp_path / "a.mp4", frames=2)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    with pytest.raises(SourceError, match=r"a\.mp4 holds a video that this build of FFmpeg cannot decode"):
        open_source(path, codec=codec)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),  # no such file
        (b"", "a.mp4"),  # empty
        (b"this is no video", "not a video"),
        (
            bytes.fromhex("1a45dfa3a34286810142f7810142f2810442f381084282886d6174726f736b61428781044285810218538067"),
            "empty or",
        ),
    ],
)
def test_a_file_that_is_no_video_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SourceError, match=words) as caught:
        open_source(path)
    assert str(path) in str(caught.value)


def test_a_name_that_the_system_refuses_is_a_source_error() -> None:
    with pytest.raises(SourceError, match=r"x cannot be opened: .*; check the name"):
        open_source("x" * 300)
    with pytest.raises(SourceError, match=r"^rtsp://camera/x*x cannot be opened") as caught:
        open_source(f"rtsp://admin:{PASSWORD}@camera/{'x' * 5000}")
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def write_sound(path: Path, codec: str, sample_format: str) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=8000, layout="mono")
        kind: Any = np.int16 if sample_format == "s16" else np.float32
        for number in range(10):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), kind), format=sample_format, layout="mono")
            sound.sample_rate, sound.pts = 8000, 1024 * number
            container.mux(stream.encode(sound))
        container.mux(stream.encode())
    return path


def test_a_file_with_sound_only_holds_no_video(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no video"):
        open_source(write_sound(tmp_path / "a.wav", "pcm_s16le", "s16"))


def test_the_cover_of_a_song_is_no_video(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.aac", "aac", "fltp")
    picture = b"\0image/jpeg\0\x03\0" + a_jpeg()
    frame = b"APIC" + struct.pack(">I", len(picture)) + b"\0\0" + picture
    length = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    path.write_bytes(b"ID3\x03\0\0" + length + frame + path.read_bytes())
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1
    with pytest.raises(SourceError, match="holds no video"):
        open_source(path)


def test_names_that_mean_something_to_ffmpeg_are_taken_as_they_are(
    tmp_path: Path, make_video: MakeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_video(tmp_path / "concat:a%03d.mp4", frames=2)
    monkeypatch.chdir(tmp_path)
    assert len(take(open_source("concat:a%03d.mp4"))) == 2


@pytest.mark.parametrize("codec", ["jpeg", "passthrough"])
@pytest.mark.parametrize("taken", [0, 1, 7])  # never read; the first picture, which was decoded to see it; more
def test_a_closed_source_gives_an_error(tmp_path: Path, make_video: MakeVideo, codec: Any, taken: int) -> None:
    source = open_source(make_video(tmp_path / "a.mp4", options={"bf": "0"}), codec=codec)
    frames = iter(source)
    assert [next(frames).number for _ in range(taken)] == list(range(taken))
    source.close()
    with pytest.raises(posewire.MisuseError, match=r"a\.mp4 is closed; open it again"):
        list(frames)
    source.close()


@pytest.mark.parametrize("codec", ["jpeg", "passthrough"])
@pytest.mark.parametrize("max_frames", [None, 3])
def test_no_source_is_read_twice(tmp_path: Path, make_video: MakeVideo, codec: Any, max_frames: int | None) -> None:
    path = make_video(tmp_path / "a.mp4", options={"bf": "0"})
    source = open_source(path, codec=codec, max_frames=max_frames)
    assert len(list(source)) == (max_frames or 20)
    with pytest.raises(posewire.MisuseError, match=r"a\.mp4 was read already; open it again"):
        list(source)
    source.close()


def test_closing_in_mid_read_leaves_the_release_to_the_reader(tmp_path: Path, make_video: MakeVideo) -> None:
    video = VideoInput(str(make_video(tmp_path / "a.mp4")), name="a.mp4")
    released: list[str] = []
    video.container.close()
    video.container = SimpleNamespace(close=lambda: released.append("closed"))

    def demuxed() -> Iterator[str]:
        closing = threading.Thread(target=video.close)
        closing.start()
        closing.join(5)
        assert not closing.is_alive()
        assert not released  # FFmpeg is still at it
        yield "packet"

    assert video._next_of(demuxed()) == "packet"
    assert released == ["closed"]
    with pytest.raises(posewire.MisuseError, match="is closed"):
        video._next_of(demuxed())


# -- packets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "options", "codec", "ffmpeg_name"),
    [
        ("libx264", {"bf": "0", "g": "5", "sc_threshold": "0"}, "h264", "h264"),
        ("libx265", {"x265-params": "bframes=0:keyint=5:scenecut=0:log-level=none"}, "h265", "hevc"),
    ],
)
def test_packets_are_annex_b_access_units_that_decode_one_by_one(
    tmp_path: Path, make_video: MakeVideo, encoder: str, options: dict[str, str], codec: Any, ffmpeg_name: str
) -> None:
    if encoder not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {encoder}")
    source = open_source(make_video(tmp_path / "a.mp4", codec=encoder, options=options, frames=12), codec=codec)
    assert isinstance(source, PacketSource)
    assert (source.codec, source.size, source.frame_count) == (codec, (64, 48), 12)
    frames = take(source)
    assert [frame.number for frame in frames] == list(range(12))
    assert [frame.time_s for frame in frames] == pytest.approx([number / 10 for number in range(12)])
    assert [frame.keyframe for frame in frames] == [number % 5 == 0 for number in range(12)]
    decoder = av.CodecContext.create(ffmpeg_name, "r")
    decoder.thread_count = 1
    shown = []
    for frame in frames:
        assert frame.packet is not None
        assert frame.packet.startswith((b"\0\0\0\1", b"\0\0\1"))
        shown += decoder.decode(av.Packet(frame.packet))  # type: ignore[attr-defined]
    shown += decoder.decode(None)  # type: ignore[attr-defined]
    assert [round(float(picture.to_ndarray(format="gray")[40, 50]) / 10) for picture in shown] == list(range(12))


def write_with_parameters_once(path: Path, encoder: str, side: int, options: dict[str, str]) -> bytes:
    """Write a video with its parameter sets in the header only, in Annex B format; return them and its packets."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=10, options=options)
        stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
        stream.codec_context.flags |= Flags.global_header
        picture = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), format="rgb24")
        packets = [packet for _ in range(12) for packet in stream.encode(picture)] + stream.encode()
        data = stream.codec_context.extradata + b"".join(map(bytes, packets))
        container.mux(packets)
    return data


@pytest.mark.parametrize(
    ("encoder", "options", "codec"),
    [
        ("libx264", {"bf": "0", "g": "5", "sc_threshold": "0"}, "h264"),
        ("libx265", {"x265-params": "bframes=0:keyint=5:scenecut=0:log-level=none"}, "h265"),
    ],
)
def test_every_keyframe_has_the_parameter_sets_that_a_camera_told_once(
    tmp_path: Path, encoder: str, options: dict[str, str], codec: Any
) -> None:
    if encoder not in av.codecs_available:
        pytest.skip(f"this build of PyAV has no {encoder}")
    in_header = tmp_path / "header.nut"  # as RTSP has them
    small = write_with_parameters_once(in_header, encoder, 64, options)
    at_start = tmp_path / f"start.{codec}"  # as a camera sends them that changes its resolution
    at_start.write_bytes(small + write_with_parameters_once(tmp_path / "large.nut", encoder, 128, options))
    for path, sides in ((in_header, [64] * 3), (at_start, [64] * 3 + [128] * 3)):
        keyframes = [frame.packet for frame in take(open_source(path, codec=codec)) if frame.keyframe]
        shown = []
        for packet in keyframes:
            assert packet is not None
            decoder = av.CodecContext.create({"h265": "hevc"}.get(codec, codec), "r")
            decoder.thread_count = 1
            shown += [*decoder.decode(av.Packet(packet)), *decoder.decode(None)]  # type: ignore[attr-defined]
        assert [picture.width for picture in shown] == sides


@pytest.mark.parametrize(
    ("video", "words"),
    [
        ({"options": {"bf": "2"}}, "B-frames"),  # frames out of order
        ({"options": {"bf": "0"}, "rotation": 90}, "rotated"),  # a rotation that packets do not carry
        ({"codec": "mpeg4"}, "only H.264 and H.265"),  # another codec
    ],
)
def test_packets_that_cannot_be_sent_are_refused_or_decoded(
    tmp_path: Path, make_video: MakeVideo, video: dict[str, Any], words: str
) -> None:
    path = make_video(tmp_path / "a.mp4", **video)
    with pytest.raises(SourceError, match=words):
        open_source(path, codec="h264")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"

        def send_once() -> None:  # many cameras serve one client; a pipe opens only once, too
            with server.accept()[0] as connection, contextlib.suppress(OSError):  # it is closed after the last frame
                server.close()
                connection.sendall(path.read_bytes())

        thread = threading.Thread(target=send_once)
        thread.start()
        source = open_source(address, codec="passthrough", live=False)
        assert isinstance(source, VideoSource)
        frames = take(source)
        thread.join(5)
        assert not thread.is_alive()
    expected = take(open_source(path))
    assert [frame.time_s for frame in frames] == [frame.time_s for frame in expected]
    np.testing.assert_array_equal([frame.image for frame in frames], [frame.image for frame in expected])


def test_the_codec_asked_for_must_be_the_sources(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4", options={"bf": "0"})
    with pytest.raises(SourceError, match=r"is h264, not h265"):
        open_source(path, codec="h265")
    for pictures in ([np.zeros((4, 4, 3), np.uint8)], tmp_path):
        with pytest.raises(SourceError, match="no h264 packets"):
            open_source(pictures, codec="h264")


def test_an_unknown_codec_is_not_the_fault_of_the_source(tmp_path: Path, make_video: MakeVideo) -> None:
    path = make_video(tmp_path / "a.mp4", options={"bf": "0"})
    with pytest.raises(InvalidSettings, match="codec is 'jpg'; it is one of 'jpeg', 'png', 'raw', 'h264', "):
        open_source(path, codec="jpg")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"framerate": 30}, r"the option 'framerate' is 30; names and values are texts: \{'framerate': '30'\}"),
        ({30: "framerate"}, "the option 30 is 'framerate'"),
        ([("framerate", "30")], "options is a list; give a dict"),
    ],
)
def test_options_are_texts(tmp_path: Path, make_video: MakeVideo, options: Any, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        open_source(make_video(tmp_path / "a.mp4"), options=options)


# -- cameras and addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", [987, "987", "/dev/video987"])
def test_a_camera_that_does_not_exist_is_named(camera: Any) -> None:
    with pytest.raises(SourceError, match=r"/dev/video987 does not exist; cameras"):
        open_source(camera)


@pytest.mark.parametrize(
    ("source", "live", "expected"),
    [
        (0, None, True),
        ("/dev/video0", None, True),
        (0, False, False),
        ("rtsp://camera/stream", None, True),
        ("UDP://@:5000", None, True),
        ("rtsp://recorder/walk", False, False),
        ("https://host/walk.mp4", None, None),  # live if its length is unknown
        ("https://host/walk.mp4", True, True),
        (__file__, None, False),
        (__file__, True, True),
    ],
)
def test_cameras_are_live_and_files_are_not(
    source: Any, live: bool | None, expected: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: Any, live: bool | None, **__: Any) -> None:
        raise SourceError(f"live is {live}")

    monkeypatch.setattr("posewire.sources._open.VideoInput", opened)
    monkeypatch.setattr(Path, "exists", lambda _: True)
    with pytest.raises(SourceError, match=f"live is {expected}"):
        open_source(source, live=live)


def test_an_address_where_nobody_answers_is_named_without_its_password() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening: refused at once
        port = taken.getsockname()[1]
        with pytest.raises(SourceError, match=rf"rtsp://127\.0\.0\.1:{port}/1 cannot be opened") as caught:
            open_source(f"rtsp://user:{PASSWORD}@127.0.0.1:{port}/1", timeout_s=2)
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("http://user:secret@camera.local:80/stream", "http://camera.local:80/stream"),
        ("http://user:s@ec@ret@camera.local/stream", "http://camera.local/stream"),
        ("http://user:sec#ret@camera:80/stream", "http://camera:80/stream"),
        ("http://user:sec?ret@camera:80/stream", "http://camera:80/stream"),
        ("http://user:sec/ret@camera:80/stream", "http://camera:80/stream"),
        ("http://user:12/34@camera:80/stream", "http://camera:80/stream"),
        ("http://user:secret@camera/stream@2x", "http://2x"),  # too much: it may all be the password
        ("http://secret@camera/stream@2x", "http://camera/stream@2x"),
        ("rtmp://camera/0?channel=0&user=a&password=se@cr:et", "rtmp://camera/0?channel=0&user=a&password="),
        ("http://camera/cgi?usr=a&PWD=secret&ch=1#t", "http://camera/cgi?usr=a&PWD=&ch=1#t"),
        (
            "https://s3/a.mp4?X-Amz-Credential=a&X-Amz-Signature=b",
            "https://s3/a.mp4?X-Amz-Credential=&X-Amz-Signature=",
        ),
        # without credentials
        ("http://camera/stream@2x", "http://camera/stream@2x"),
        ("http://camera.local:80/stream@2x?at=1@2:3@4", "http://camera.local:80/stream@2x?at=1@2:3@4"),
        ("http://[::1]:80/stream@2x", "http://[::1]:80/stream@2x"),
        ("udp://@:5000", "udp://@:5000"),
    ],
)
def test_credentials_stay_out_of_names(address: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[str, str]] = []

    def note(address: str, *, name: str, **_: Any) -> Any:
        opened.append((address, name))
        raise SourceError(name)

    monkeypatch.setattr("posewire.sources._open.VideoInput", note)
    with pytest.raises(SourceError):
        open_source(address)
    assert opened == [(address, named)]


@pytest.mark.parametrize("address", ["http://127.0.0.1:{}/a.mp4", "rtsp://127.0.0.1:{}/1"])
def test_an_address_that_stays_silent_is_given_up(address: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(SourceError, match=r"nothing came for 0\.3 s"):
            open_source(address.format(port), timeout_s=0.3)


def camera_packets(path: Path) -> list[bytes]:
    """As few as FFmpeg needs, without their frame rate, to open a camera at once."""
    write_clip(path, "libx264", frames=12, options={"bf": "0", "g": "5"})
    return [frame.packet or b"" for frame in take(open_source(path, codec="h264"))]


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_a_silent_camera_is_given_up_after_a_single_wait(tmp_path: Path, codec: Any) -> None:
    camera = RtspCamera(camera_packets(tmp_path / "a.mp4"))
    with (
        camera.serving() as address,
        contextlib.closing(open_source(f"rtsp://{address}", codec=codec, timeout_s=0.5)) as source,
    ):
        assert (source.fps, source.size) == (10, (64, 48))
        frames = iter(source)
        for _ in range(12):  # for the last, FFmpeg waits in vain: its packet may not be complete
            next(frames)
        camera.go_on()
        with pytest.raises(SourceError, match=r"broke off: nothing came for 0\.5 s"):
            next(frames)


def test_a_camera_that_goes_on_after_the_program_was_suspended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    camera = RtspCamera(camera_packets(tmp_path / "a.mp4"))
    with (
        camera.serving() as address,
        contextlib.closing(open_source(f"rtsp://{address}", codec="h264", timeout_s=10)) as source,
    ):
        minutes = SimpleNamespace(monotonic=map(float, itertools.count(0, 60)).__next__)
        monkeypatch.setattr("posewire.sources._container.time", minutes)
        assert len(list(itertools.islice(source, 11))) == 11


_NO_TCP = ("RTP/AVP/TCP", "461 Unsupported transport")


@pytest.mark.parametrize(
    ("refused", "options", "words", "transports"),
    [
        (("DESCRIBE", "401 Unauthorized"), {}, "401 .*; check the user name and password in the address", []),
        (("DESCRIBE", "403 Forbidden"), {}, "403 .*; check the user name and password in the address", []),
        (_NO_TCP, {}, "nothing came", ["RTP/AVP/TCP", "RTP/AVP/UDP"]),
        (_NO_TCP, {"rtsp_flags": "filter_src"}, "cannot be opened: ", ["RTP/AVP/TCP"]),  # FFmpeg would begin with UDP
    ],
)
def test_what_a_camera_refuses_is_said_or_avoided(
    tmp_path: Path, refused: tuple[str, str], options: dict[str, str], words: str, transports: list[str]
) -> None:
    camera = RtspCamera(camera_packets(tmp_path / "a.mp4"), refused=refused)
    timeout_s = 0.5 if words == "nothing came" else 10.0
    with camera.serving() as address, pytest.raises(SourceError, match=words) as caught:
        take(open_source(f"rtsp://user:{PASSWORD}@{address}", timeout_s=timeout_s, options=options))
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))
    assert [transport.split(";")[0] for transport in camera.transports] == transports


def test_a_protocol_that_ffmpeg_lacks_is_named_as_the_reason() -> None:
    with pytest.raises(SourceError, match="this build of FFmpeg has no such protocol"):
        open_source("morse://camera:9000")


def test_a_host_that_nobody_knows_is_suspected() -> None:
    with pytest.raises(SourceError, match="Input/output error, perhaps an unknown host name; check the address"):
        open_source("rtsp://camera..local/1")  # no name server is asked for such a name
    with pytest.raises(SourceError, match="an unknown host name or, with tls_verify=1, a certificate that is not trus"):
        open_source("https://camera..local/1")
    if Path("/proc/self/mem").exists():  # nothing can be read at its beginning
        with pytest.raises(SourceError, match="Input/output error; check"):
            open_source("/proc/self/mem", live=True)


@contextlib.contextmanager
def serve_a_part(data: bytes, sent: int) -> Iterator[int]:
    """A web server that sends the beginning of a file, and then nothing more; yields its port."""
    connections: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with contextlib.suppress(OSError):  # the end of the test
                while True:
                    connections.append(server.accept()[0])
                    connections[-1].recv(65_536)
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(data)}\r\n\r\n"
                    connections[-1].sendall(head.encode() + data[:sent])

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                connection.close()
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.parametrize("live", [None, False, True])
@pytest.mark.parametrize("part", [0.01, 0.6])  # while the first picture is looked for; later
def test_a_file_that_a_server_stops_to_give_has_broken_off(tmp_path: Path, part: float, live: bool | None) -> None:
    data = write_clip(tmp_path / "a.mkv", "libx264").read_bytes()

    def read(address: str) -> None:
        take(open_source(address, live=live, timeout_s=0.3))

    words = r"^http://127\.0\.0\.1:\d+/a\.mkv broke off: nothing came for 0\.3 s"
    with serve_a_part(data, int(part * len(data))) as port, pytest.raises(SourceError, match=words) as caught:
        read(f"http://user:{PASSWORD}@127.0.0.1:{port}/a.mkv")
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


def test_a_camera_need_not_give_many_frames_to_be_opened(tmp_path: Path, make_video: MakeVideo) -> None:
    data = make_video(tmp_path / "a.ts", frames=8, options={"bf": "0"}).read_bytes()
    is_open, in_time = threading.Event(), []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            with server.accept()[0] as connection:
                connection.sendall(data)
                in_time.append(is_open.wait(5))

        thread = threading.Thread(target=send)
        thread.start()
        open_source(f"tcp://127.0.0.1:{server.getsockname()[1]}").close()
        is_open.set()
        thread.join(10)
        assert not thread.is_alive()
    assert in_time == [True]


@pytest.mark.parametrize("codec", ["jpeg", "passthrough"])
def test_a_camera_without_a_keyframe_is_given_up(tmp_path: Path, make_video: MakeVideo, codec: Any) -> None:
    data = make_video(tmp_path / "a.ts", frames=200, options={"bf": "0", "g": "1000", "sc_threshold": "0"}).read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            with server.accept()[0] as connection, contextlib.suppress(OSError):  # until it is given up
                while True:
                    connection.sendall(data[len(data) // 2 // 188 * 188 :])

        thread = threading.Thread(target=send)
        thread.start()
        with pytest.raises(SourceError, match=r"no picture that can be decoded: none for 0\.3 s"):
            open_source(f"tcp://127.0.0.1:{server.getsockname()[1]}", codec=codec, timeout_s=0.3)
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize("codec", ["jpeg", "passthrough"])
def test_a_camera_that_goes_on_without_pictures_is_given_up(tmp_path: Path, codec: Any) -> None:
    clip = write_clip(tmp_path / "a.ts", "libx264", sound="aac", options={"bf": "0", "g": "10"})
    data = clip.read_bytes()
    units = [data[start : start + 188] for start in range(0, len(data), 188)]
    sound = b"".join(unit for unit in units if int.from_bytes(unit[1:3], "big") & 0x1FFF != 0x100)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            with server.accept()[0] as connection, contextlib.suppress(OSError):  # until it is given up
                connection.sendall(data)
                until_s = time.monotonic() + 3
                while time.monotonic() < until_s:
                    connection.sendall(sound)

        thread = threading.Thread(target=send)
        thread.start()
        source = open_source(f"tcp://127.0.0.1:{server.getsockname()[1]}", codec=codec, timeout_s=0.3)
        frames = iter(source)
        for _ in range(5):
            next(frames)
        time.sleep(0.4)  # a frame that waits to be taken is no silence of the camera
        rest, error = take_until_error(frames)
        source.close()
        thread.join(5)
        assert not thread.is_alive()
    assert len(rest) > 80
    assert "no picture that can be decoded: none for 0.3 s" in error


@pytest.mark.parametrize("codec", ["jpeg", "h264"])
def test_a_camera_that_stops_is_an_error(tmp_path: Path, make_video: MakeVideo, codec: Any) -> None:
    # A file in the role of a camera, which is not supposed to end.
    source = open_source(make_video(tmp_path / "a.mp4", frames=5, options={"bf": "0"}), codec=codec, live=True)
    assert source.live
    assert source.silence_s == 10
    frames, error = take_until_error(source)
    assert [frame.number for frame in frames] == list(range(5))
    assert "a.mp4 stopped after 5 frames" in error


def test_a_camera_is_joined_at_its_first_keyframe(tmp_path: Path, make_video: MakeVideo) -> None:
    options = {"bf": "0", "g": "10", "sc_threshold": "0"}
    data = make_video(tmp_path / "a.ts", frames=40, options=options).read_bytes()
    joined = tmp_path / "joined.ts"
    joined.write_bytes(data[len(data) // 3 // 188 * 188 :])
    assert not next(iter(open_source(joined, codec="h264"))).keyframe
    packets, _ = take_until_error(open_source(joined, codec="h264", live=True))
    pictures, _ = take_until_error(open_source(joined, live=True))
    assert packets[0].keyframe
    assert [frame.number for frame in packets] == [frame.number for frame in pictures]


def test_a_limit_is_no_stop(tmp_path: Path, make_video: MakeVideo) -> None:
    assert len(take(open_source(make_video(tmp_path / "a.mp4", frames=5), live=True, max_frames=5))) == 5


# -- folders -----------------------------------------------------------------------------------------------------------


def write_picture(path: Path, value: int, size: tuple[int, int] = (8, 6)) -> None:
    cv2.imwrite(str(path), np.full((size[1], size[0], 3), (value, 0, 0), np.uint8))


def test_a_folder_gives_its_pictures_by_name(tmp_path: Path) -> None:
    for number, name in enumerate(["1.png", "2.jpg", "10.webp", "11.PNG", "a.bmp"]):
        write_picture(tmp_path / name.lower(), 40 * number)
    (tmp_path / "11.png").rename(tmp_path / "11.PNG")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "._1.png").write_bytes(b"\0\5\26\7Mac OS X")  # hidden
    source = open_source(str(tmp_path), fps=10)
    assert isinstance(source, FolderSource)
    assert (source.frame_count, source.fps, source.live) == (5, 10, False)
    frames = take(source)
    assert [frame.name for frame in frames] == ["1.png", "2.jpg", "10.webp", "11.PNG", "a.bmp"]
    assert [frame.time_s for frame in frames] == [0, 0.1, 0.2, pytest.approx(0.3), 0.4]
    for number, frame in enumerate(frames):
        assert frame.image is not None
        assert frame.image[3, 4].tolist() == pytest.approx([0, 0, 40 * number], abs=4)  # written as blue
    beginning = open_source(tmp_path, max_frames=2)
    assert beginning.frame_count == len(take(beginning)) == 2


def test_digits_that_make_no_number_are_letters(tmp_path: Path) -> None:
    for name in ("²2.png", "²10.png", "m².png"):
        write_picture(tmp_path / name, 0)
    assert [frame.name for frame in take(open_source(tmp_path))] == ["m².png", "²2.png", "²10.png"]
    with pytest.raises(SourceError, match="² does not exist"):
        open_source("²")


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("b.png", lambda data: data[: len(data) // 2]),  # PNG cut off
        ("b.jpg", lambda data: data[: len(data) * 3 // 4]),  # JPEG cut off, which OpenCV would fill with grey
        ("b.jpg", lambda data: b"no picture"),
        ("b.jpg", lambda data: b""),
    ],
)
def test_an_unreadable_picture_is_named_and_the_others_follow(
    tmp_path: Path, name: str, spoil: Callable[[bytes], bytes]
) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    for each in ("a.png", name, "c.png"):
        cv2.imwrite(str(tmp_path / each), noise)
    path = tmp_path / name
    path.write_bytes(spoil(path.read_bytes()))
    frames = take(open_source(tmp_path))
    assert [frame.image is None for frame in frames] == [False, True, False]
    assert str(path) in frames[1].problem


def test_a_jpeg_ends_where_it_says(tmp_path: Path) -> None:
    """Data that a camera appends, such as a video, is not part of it; nor is the thumbnail in its header."""
    picture = a_jpeg()
    thumbnail = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    header = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    (tmp_path / "1.jpg").write_bytes(picture + b"a video with \xff\xda in it")
    (tmp_path / "2.jpg").write_bytes(picture[:2] + header + picture[2:] + b"a video with \xff\xda in it")
    (tmp_path / "3.jpg").write_bytes(picture[:2] + header + picture[2:300])
    frames = take(open_source(tmp_path))
    assert [frame.image is None for frame in frames] == [False, False, True]
    assert "the JPEG is cut off" in frames[2].problem


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(SourceError, match="holds no pictures"):
        open_source(tmp_path)


def test_a_folder_that_may_not_be_read_is_a_source_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(folder: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(SourceError, match="cannot be read: Permission denied; check its rights"):
        FolderSource(tmp_path)


# -- frames of the program ---------------------------------------------------------------------------------------------


def test_arrays_are_numbered_and_timed() -> None:
    source = open_source([np.zeros((4, 6, 3), np.uint8)] * 3, fps=2)
    assert isinstance(source, ArraySource)
    assert source.frame_count == 3
    assert [(frame.number, frame.time_s) for frame in source] == [(0, 0), (1, 0.5), (2, 1)]


def test_frames_of_the_program_keep_all_but_their_number() -> None:
    picture = np.zeros((4, 6, 3), np.uint8)
    given = [SourceFrame(7, 1.5, image=picture, name="a"), SourceFrame(7, 2.0, problem="lost"), picture]
    source = open_source(given, max_frames=2)
    assert source.frame_count == 2
    assert open_source(given, max_frames=9).frame_count == 3
    taken = [(frame.number, frame.time_s, frame.name, frame.problem) for frame in source]
    assert taken == [(0, 1.5, "a", ""), (1, 2.0, "", "lost")]


def test_live_arrays_have_the_time_at_which_they_came() -> None:
    came_s: list[float] = []

    def camera() -> Iterator[Any]:
        for _ in range(3):
            came_s.append(time.time())
            yield np.zeros((4, 6, 3), np.uint8)

    times_s = [frame.time_s for frame in open_source(camera(), live=True)]
    assert times_s == pytest.approx(came_s, abs=60)
    assert times_s == sorted(times_s)


def frozen(array: Any) -> Any:
    array.flags.writeable = False
    return array


@pytest.mark.parametrize("dressed", [False, True])
def test_a_program_may_use_its_buffers_again(dressed: bool) -> None:
    picture, boxes = np.zeros((4, 6, 3), np.uint8), np.array([[0, 0, 2, 2]])

    def frames() -> Iterator[Any]:
        for number in range(3):
            picture[:], boxes[0, 2] = number, number
            shown = frozen(picture[:])  # nobody writes into the view, but into what it shows
            yield SourceFrame(0, 0.0, image=shown, boxes=boxes) if dressed else shown

    taken = list(open_source(frames()))
    assert [int(frame.image[0, 0, 0]) for frame in taken if frame.image is not None] == [0, 1, 2]
    if dressed:
        assert [np.asarray(frame.boxes)[0, 2] for frame in taken] == [0, 1, 2]


@pytest.mark.parametrize(
    ("picture", "copied"),
    [
        (np.zeros((4, 6, 3), np.uint8), True),
        (frozen(np.zeros((4, 6, 3), np.uint8)), False),
        (np.frombuffer(bytes(72), np.uint8).reshape(4, 6, 3), False),
        (np.frombuffer(memoryview(bytearray(72)).toreadonly(), np.uint8).reshape(4, 6, 3), True),
    ],
)
def test_only_what_may_change_is_copied(picture: Any, copied: bool) -> None:
    (frame,) = open_source([picture])
    assert (frame.image is not picture) == copied


async def _awaited_frames() -> AsyncIterator[Any]:
    yield np.zeros((4, 6, 3), np.uint8)


def test_an_asynchronous_iterable_needs_its_event_loop() -> None:
    with pytest.raises(posewire.InvalidSettings, match="async_generator is an asynchronous iterable, which needs"):
        open_source(_awaited_frames())
    with posewire.Client() as client, pytest.raises(posewire.InvalidSettings, match=r"use posewire\.AsyncClient"):
        client.track(_awaited_frames())  # type: ignore[arg-type]  # which is the point


def test_an_asynchronous_iterable_whose_loop_has_ended_has_no_more_frames() -> None:
    async def opened() -> ArraySource:
        return ArraySource(_awaited_frames())

    assert list(asyncio.run(opened())) == []


def test_no_more_is_asked_of_an_iterable_than_needed() -> None:
    def frames() -> Iterator[Any]:
        yield np.zeros((4, 6, 3), np.uint8)
        raise AssertionError("asked for a second frame")

    assert len(list(open_source(frames(), max_frames=1))) == 1


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (np.zeros((4, 6), np.uint8), "item 1"),  # grey
        (np.zeros((4, 6, 3), np.float32), "float32"),
        (np.zeros((0, 6, 3), np.uint8), "at least one pixel"),
        ("a.png", "str"),
        (SourceFrame(0, 0.0), "NoneType"),  # neither picture nor problem
    ],
)
def test_an_item_that_is_no_picture_is_named(item: Any, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        list(open_source([np.zeros((4, 6, 3), np.uint8), item]))


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"source": 3.5}, SourceError, "3.5 is no source"),
        ({"source": ""}, SourceError, "has no name"),  # a variable that is not set
        ({"source": [], "fps": 0}, posewire.InvalidSettings, "fps is 0;"),
        ({"source": [], "fps": float("inf")}, posewire.InvalidSettings, "fps is inf;"),
        ({"source": [], "fps": "25"}, posewire.InvalidSettings, "fps is '25';"),
        ({"source": [], "max_frames": 0}, posewire.InvalidSettings, "max_frames is 0;"),
        ({"source": "clip.mp4", "max_frames": 2.5}, posewire.InvalidSettings, "max_frames is 2.5;"),
        ({"source": ArraySource([]), "max_frames": 1}, posewire.InvalidSettings, "has no effect"),
        ({"source": "rtsp://camera/1", "timeout_s": 0}, posewire.InvalidSettings, "timeout_s is 0;"),
        ({"source": "rtsp://camera/1", "timeout_s": None}, posewire.InvalidSettings, "timeout_s is None;"),
    ],
)
def test_unusable_arguments(arguments: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        open_source(**arguments)


def test_an_open_source_comes_back() -> None:
    source = ArraySource([])
    assert open_source(source) is source


def test_a_source_that_lacks_an_attribute_is_told_which() -> None:
    lacking = SimpleNamespace(name="own", live=True, fps=None, size=None, frame_count=None, codec=None)
    lacking.close = lambda: None
    with pytest.raises(SourceError, match=r"it lacks __iter__, silence_s; see posewire\.Source"):
        open_source(lacking)  # type: ignore[arg-type]  # which is the point


def test_a_source_may_have_its_attributes_by_delegation() -> None:
    class Proxy:
        def __init__(self, behind: Any) -> None:
            self._behind = behind

        def __getattr__(self, name: str) -> Any:
            return getattr(self._behind, name)

        def __iter__(self) -> Any:
            return iter(self._behind)

    proxy: Any = Proxy(ArraySource([]))
    assert open_source(proxy) is proxy


def test_an_iterable_that_closes_is_no_source() -> None:
    frames = (np.zeros((4, 6, 3), np.uint8) for _ in range(2))  # a generator, which has `close` too
    assert isinstance(open_source(frames), ArraySource)


# -- real clips --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("clip", "size"),
    [
        ("squats.mp4", (720, 1280)),  # 65 frames, portrait
        ("skeleton_demo.mp4", (1920, 1080)),  # odd frame rate
    ],
)
def test_real_clips_are_read_from_first_to_last_frame(shared_data: Path, clip: str, size: tuple[int, int]) -> None:
    source = open_source(shared_data / "video" / clip)
    assert source.size == size
    assert len(take(source)) == source.frame_count

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_server.observability.logs import current_stream
from posewire_server.recording import recorder as recorder_module
from posewire_server.recording.file_format import FINISHED, MAGIC, UNFINISHED, Kind, pack, records
from posewire_server.recording.recorder import Piece, Recorder
from posewire_server.recording.recording import Recording
from posewire_server.recording.stream_recording import StreamRecording

CONFIG = track_pb2.TrackRequest(
    config=settings_pb2.StreamConfig(resume=settings_pb2.ResumeRequest(token=b"secret", last_frame=b"picture"))
)
STARTED = track_pb2.TrackResponse(started=track_pb2.StreamStarted(stream_id="s1"))


@pytest.fixture(autouse=True)
def stream_of_its_own() -> Iterator[None]:
    """What a test says of the stream does not outlive it."""
    token = current_stream.set("")
    yield
    current_stream.reset(token)


def frame(number: int, size: int = 10) -> track_pb2.TrackRequest:
    return track_pb2.TrackRequest(frame=track_pb2.Frame(number=number, data=b"x" * size))


def tracked(number: int, token: bytes = b"") -> track_pb2.TrackResponse:
    return track_pb2.TrackResponse(tracked=track_pb2.TrackedFrame(number=number), resume_token=token)


def opened(
    recorder: Recorder, stream: str = "", codec: pose_pb2.Codec.ValueType = pose_pb2.CODEC_UNSPECIFIED
) -> StreamRecording:
    """Of a stream that has started."""
    current_stream.set(stream)
    recording = StreamRecording(recorder)
    recording.request(CONFIG)
    started = track_pb2.TrackResponse()
    started.CopyFrom(STARTED)
    if codec:
        started.started.config.codec = codec
    recording.response(started)
    return recording


def until_written(recorder: Recorder) -> None:
    while recorder._waiting_bytes:
        assert recorder._thread.is_alive()
        recorder._thread.join(0.001)


def record(recorder: Recorder, stream: str, frames: int, size: int = 10) -> None:
    recording = opened(recorder, stream)
    for number in range(frames):
        recording.request(frame(number, size))
        recording.response(tracked(number, b"secret"))
    recording.end()


@pytest.mark.parametrize("name", ["file", "file/inside"])
def test_a_file_in_place_of_the_folder_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=f"recordings need a folder, and .*{name} is a file or lies in one"):
        Recorder(tmp_path / name, 10**6)


def test_a_stream_becomes_one_file_without_secrets(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "new", 10**6)
    record(recorder, "cam", frames=3)
    recorder.close()
    (path,) = (tmp_path / "new").iterdir()
    assert path.name.endswith(FINISHED)
    assert "cam" in path.name
    assert [stat.S_IMODE(each.stat().st_mode) for each in (path.parent, path)] == [0o700, 0o600]
    assert b"secret" not in path.read_bytes()
    assert b"picture" in path.read_bytes()
    assert CONFIG.config.resume.token == b"secret"  # what the service works with is left alone
    recording = Recording.read(path)
    assert recording.ending == "the stream ended"
    assert recording.header["stream"] == "cam"
    assert recording.outcomes.keys() == {0, 1, 2}
    assert [each.number for each in recording.frames()] == [0, 1, 2]
    times_s = [each.time_s for each in records(path)]
    assert times_s == sorted(times_s)
    assert 0 < times_s[-1] == recording.seconds < 100


def test_a_stream_that_never_began_leaves_no_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10**6)
    StreamRecording(recorder).end()
    for request in (CONFIG, frame(0)):
        refused = StreamRecording(recorder)
        refused.request(request)
        refused.end("the call ended")
    assert recorder.streams == 0
    recorder.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_a_stream_takes_no_name_of_another_one(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10**6)
    assert len({recorder.file("cam").path for _ in range(1000)}) == 1000  # all within a second or so
    recorder.close()


def test_all_that_is_written_counts(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 10**6)
    for number in range(20):
        record(recorder, f"cam{number}", frames=0)
    recorder.close()
    assert recorder._total_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_the_oldest_recordings_make_room(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no recording")
    recorder = Recorder(tmp_path, 50_000)
    for number in range(8):
        record(recorder, f"cam{number}", frames=10, size=1000)
    recorder.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 50_000 + 200  # and a header
    assert any("cam7" in name for name in names)
    assert not any("cam0" in name for name in names)
    assert "notes.txt" in names


def test_a_folder_of_many_recordings_is_not_looked_through_for_every_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1000):
        (tmp_path / f"{number}{FINISHED}").write_bytes(bytes(100))
    recorder = Recorder(tmp_path, 100_000)
    looks = []
    recordings = recorder._recordings
    monkeypatch.setattr(recorder, "_recordings", lambda: looks.append(1) or recordings())
    record(recorder, "cam", frames=100, size=100)
    recorder.close()
    assert 90_000 < size_of(tmp_path) < 100_000 + 200
    assert len(looks) < 20


def parts_of(folder: Path, stream: str) -> list[Recording]:
    """The files of a stream, in the order of their frames."""
    parts = [Recording.read(path) for path in folder.iterdir() if stream in path.name and path.is_file()]
    return sorted(parts, key=lambda part: min(part.outcomes, default=-1))


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_a_stream_longer_than_all_the_room_is_recorded_in_parts_of_which_the_newest_stay(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 40_000)
    record(recorder, "long", frames=100, size=1000)
    recorder.close()
    assert 25_000 < size_of(tmp_path) < 40_000 + 200
    parts = parts_of(tmp_path, "long")
    numbers = [number for part in parts for number in part.outcomes]
    assert numbers == list(range(numbers[0], 100))
    assert numbers[0] > 50
    for part in parts:
        assert [frame.number for frame in part.frames()] == list(part.outcomes)
        assert part.started.resume.resumed  # so that it is read as the rest of something
        assert part.started.stream_id == "s1"
    assert [part.ending for part in parts[:-1]] == ["the stream continues in another file"] * (len(parts) - 1)
    assert parts[-1].ending == "the stream ended"


def test_streams_that_last_make_room_for_each_other(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 100_000)
    streams = {}
    for name in ("cam0", "cam1", "cam2"):
        streams[name] = opened(recorder, name)
    for number in range(200):
        for name, recording in streams.items():
            current_stream.set(name)
            recording.request(frame(number, 1000))
            recording.response(tracked(number))
        until_written(recorder)
    for recording in streams.values():
        recording.end()
    recorder.close()
    assert size_of(tmp_path) < 100_000 + 600
    for name in streams:
        numbers = [number for part in parts_of(tmp_path, name) for number in part.outcomes]
        assert numbers == list(range(numbers[0], 200))
        assert len(numbers) > 15


def test_an_answer_goes_where_its_frame_is(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 20_000)
    recording = opened(recorder, "late")
    for number in range(4):
        recording.request(frame(number, 3000))  # from number 2 on into another file
    recording.response(tracked(0))
    recording.response(track_pb2.TrackResponse(failed=track_pb2.FailedFrame(number=3)))  # of a frame that fails at once
    late = tracked(2)
    late.dropped.add(number=1, reason=track_pb2.DROP_REASON_SUPERSEDED)
    recording.response(late)
    recording.end()
    recorder.close()
    answered = [(part.outcomes.keys(), part.ending) for part in parts_of(tmp_path, "late")]
    assert answered == [({0, 1}, "the stream continues in another file"), ({2, 3}, "the stream ended")]


def test_a_stream_of_which_nothing_is_tracked_is_recorded_on_and_on(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 400_000)
    recording = opened(recorder)
    for number in range(50):
        recording.request(frame(number, 110_000))
        recording.response(track_pb2.TrackResponse(failed=track_pb2.FailedFrame(number=number)))
    recording.end()
    recorder.close()
    assert size_of(tmp_path) < 400_000
    assert parts_of(tmp_path, ".pwrec")[-1].outcomes.keys() == {49}


@pytest.mark.parametrize(
    ("codec", "numbers", "reason"),
    [
        (pose_pb2.CODEC_H264, range(300), track_pb2.FAILURE_REASON_UNDECODABLE),  # without a key frame
        (pose_pb2.CODEC_JPEG, [5] * 300, track_pb2.FAILURE_REASON_BAD_NUMBER),
    ],
)
def test_a_stream_in_which_no_part_can_begin_leaves_others_their_room(
    tmp_path: Path, codec: pose_pb2.Codec.ValueType, numbers: Sequence[int], reason: track_pb2.FailureReason.ValueType
) -> None:
    recorder = Recorder(tmp_path, 100_000)
    streams = {}
    for name in ("endless", "other"):
        streams[name] = opened(recorder, name, codec if name == "endless" else pose_pb2.CODEC_UNSPECIFIED)
    for number, bad in enumerate(numbers):
        current_stream.set("endless")
        streams["endless"].request(frame(bad, 1000))
        streams["endless"].response(track_pb2.TrackResponse(failed=track_pb2.FailedFrame(number=bad, reason=reason)))
        current_stream.set("other")
        streams["other"].request(frame(number, 1000))
        streams["other"].response(tracked(number))
        if number == 60:
            until_written(recorder)
            (part,) = parts_of(tmp_path, "endless")
            assert part.ending == "no frame came with which another file could begin"
    for recording in streams.values():
        recording.end()
    recorder.close()
    assert recorder.streams == 0
    assert size_of(tmp_path) < 100_000 + 400
    last = parts_of(tmp_path, "other")[-1]
    assert last.ending == "the stream ended"
    assert 299 in last.outcomes


def test_a_number_that_comes_again_begins_no_part(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 40_000)
    recording = opened(recorder)
    for number in (10, 11, 12, 3, 4):
        recording.request(frame(number, 4000))
    for number in (10, 11, 12):
        recording.response(tracked(number))
    recording.end()
    recorder.close()
    (part,) = parts_of(tmp_path, ".pwrec")
    assert part.outcomes.keys() == {10, 11, 12}


def test_the_last_frame_of_the_earlier_stream_is_in_the_first_part_only(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 40_000)
    record(recorder, "cam", frames=20, size=1000)
    recorder.close()
    parts = parts_of(tmp_path, "cam")
    assert len(parts) > 1
    assert [b"picture" in part.path.read_bytes() for part in parts] == [True] + [False] * (len(parts) - 1)


def unit(number: int, *, is_key: bool, has_parameters: bool) -> track_pb2.TrackRequest:
    """Of H.264."""
    data = b"\0\0\1\x67...." * has_parameters + (b"\0\0\1\x65" if is_key else b"\0\0\1\x41") + b"x" * 600
    return track_pb2.TrackRequest(frame=track_pb2.Frame(number=number, data=data))


@pytest.mark.parametrize(("parameters_at", "parts_at"), [(0, [0, 4, 8]), (2, [0])])
def test_a_part_of_a_video_begins_with_a_key_frame_and_its_parameters(
    tmp_path: Path, parameters_at: int, parts_at: list[int]
) -> None:
    recorder = Recorder(tmp_path, 9_000)
    recording = opened(recorder, "video", pose_pb2.CODEC_H264)
    for number in range(12):
        recording.request(unit(number, is_key=number % 4 == 0, has_parameters=number % 4 == parameters_at))
        recording.response(tracked(number))
    recording.end()
    recorder.close()
    assert [min(part.outcomes) for part in parts_of(tmp_path, "video")] == parts_at


def test_a_camera_is_recorded_for_months_and_nothing_is_kept_of_what_is_written(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, 9_000)
    recording = opened(recorder, "", pose_pb2.CODEC_H264)
    for number in range(200):  # each of the parts is overdue for three frames
        recording.request(unit(number, is_key=number % 7 == 0, has_parameters=True))
        recording.response(tracked(number))
    (part,) = recording._parts
    recording.end()
    recording.request(unit(200, is_key=True, has_parameters=True))
    assert recording._parts == [part]
    assert not part.unanswered
    recorder.close()
    newest = parts_of(tmp_path, ".pwrec")[-1]
    assert newest.ending == "the stream ended"
    assert max(newest.outcomes) == 199


def test_files_of_other_servers_count_and_stay_while_they_are_being_written(tmp_path: Path) -> None:
    other, recorder = Recorder(tmp_path, 100_000), Recorder(tmp_path, 50_000)
    recording = opened(other, "other")
    for number in range(20):
        recording.request(frame(number, 1000))
    until_written(other)
    dead = tmp_path / f"a{UNFINISHED}"
    dead.write_bytes(bytes(20_000))
    record(recorder, "cam", frames=15, size=1000)
    recorder.close()
    assert not dead.exists()
    recording.end()
    other.close()
    (part,) = parts_of(tmp_path, "other")
    assert part.ending == "the stream ended"
    assert size_of(tmp_path) < 50_000


def test_without_locks_streams_are_recorded_and_no_unfinished_file_is_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / f"a{UNFINISHED}").write_bytes(bytes(20_000))
    recorder = Recorder(tmp_path, 50_000)
    record(recorder, "cam", frames=40, size=1000)
    recorder.close()
    assert (tmp_path / f"a{UNFINISHED}").exists()
    assert parts_of(tmp_path, "cam")[-1].ending == "the stream ended"
    assert size_of(tmp_path) < 50_200


def test_what_cannot_be_deleted_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / f"0{FINISHED}").mkdir()
    os.utime(tmp_path / f"0{FINISHED}", (0, 0))
    recorder = Recorder(tmp_path, 60_000)
    record(recorder, "cam", frames=100, size=1000)
    recorder.close()
    assert max(parts_of(tmp_path, "cam")[-1].outcomes) == 99
    assert f"{tmp_path / f'0{FINISHED}'}, an old recording, cannot be deleted: Is a directory" in caplog.text


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("a fault of the recorder")])
def test_what_cannot_be_written_ends_that_recording_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    recorder = Recorder(tmp_path, 10**6)
    write = recorder._write

    def faulty(piece: Piece) -> None:
        if piece.file.stream_id == "cam" and piece.message == frame(1):
            raise error
        write(piece)

    monkeypatch.setattr(recorder, "_write", faulty)
    record(recorder, "cam", frames=3)
    record(recorder, "next", frames=3)
    recorder.close()
    (cut_off,), (whole,) = parts_of(tmp_path, "cam"), parts_of(tmp_path, "next")
    assert (cut_off.outcomes.keys(), cut_off.ending) == ({0}, None)
    assert (whole.outcomes.keys(), whole.ending) == ({0, 1, 2}, "the stream ended")
    assert caplog.text.count("a recording ends") == 1


def test_while_its_folder_is_away_streams_are_not_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "mounted"
    recorder = Recorder(folder, 10**6)
    folder.rmdir()
    record(recorder, "cam", frames=3)
    until_written(recorder)
    folder.mkdir()
    record(recorder, "next", frames=3)
    recorder.close()
    (whole,) = parts_of(folder, "")
    assert (whole.outcomes.keys(), whole.ending) == ({0, 1, 2}, "the stream ended")
    assert caplog.text.count("a recording ends") == 1


def test_a_recording_without_room_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(tmp_path, 3_000)
    recording = opened(recorder, "cam")
    recording.request(frame(0, 5000))
    until_written(recorder)
    recording.request(frame(1))
    assert recorder.streams == 0  # its share of the room is there for others, though the stream goes on
    recording.end()
    assert recorder.streams == 0
    recorder.close()
    (path,) = tmp_path.iterdir()
    assert "--record-max-mb" in str(Recording.read(path).ending)
    assert "a recording ends: there is no space for it" in caplog.text
    assert caplog.text.count("a recording ends") == 1


def test_a_slow_disk_ends_the_recording_and_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "_MOST_WAITING_BYTES", 20_000)
    recorder = Recorder(tmp_path, 10**7)
    stuck, go_on = threading.Event(), threading.Event()
    write = recorder._write

    def slow(piece: object) -> None:
        stuck.set()
        go_on.wait(30)
        write(piece)  # type: ignore[arg-type]

    monkeypatch.setattr(recorder, "_write", slow)
    record(recorder, "slow", frames=50, size=1000)  # returns at once
    assert stuck.wait(30)
    go_on.set()
    recorder.close()
    (path,) = tmp_path.iterdir()
    recording = Recording.read(path)
    assert "too slow" in str(recording.ending)
    assert 0 < len(recording.outcomes) < 50


def test_fields_that_nobody_knows_are_counted_among_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "_MOST_WAITING_BYTES", 20_000)
    unknown = b"\x82\x7d" + b"\xb0\xea\x01" + bytes(30_000)  # field 2000, 30,000 bytes
    recorder = Recorder(tmp_path, 10**7)
    recording = opened(recorder)
    recording.request(track_pb2.TrackRequest(frame=track_pb2.Frame.FromString(unknown)))
    recorder.close()
    (path,) = tmp_path.iterdir()
    assert "too slow" in str(Recording.read(path).ending)


class FullDisk:
    """A file on a disk that has room for so many bytes now, and for more later."""

    def __init__(self, file: BinaryIO, room: int) -> None:
        self._file, self.room = file, room

    def write(self, data: bytes) -> int:
        written = self._file.write(data[: self.room])
        self.room -= written
        return written

    def close(self) -> None:
        self._file.close()


def test_a_disk_that_takes_half_of_a_record_ends_the_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder(tmp_path, 10**6)
    opened = recorder._open

    def on_a_full_disk(file: Any) -> None:
        opened(file)
        file.output = FullDisk(file.output, room=4500)

    monkeypatch.setattr(recorder, "_open", on_a_full_disk)
    record(recorder, "cam", frames=10, size=1000)
    recorder.close()
    (path,) = tmp_path.iterdir()
    assert path.name.endswith(UNFINISHED)
    assert Recording.read(path).outcomes.keys() == {0, 1, 2, 3}
    assert "a recording ends: No space left on device" in caplog.text


def test_what_a_killed_server_leaves_is_readable(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "live", 10**6)
    recording = opened(recorder, "cam")
    for number in (0, 1):
        recording.request(frame(number))
    recording.response(tracked(0))
    until_written(recorder)
    (path,) = (tmp_path / "live").iterdir()
    assert path.name.endswith(UNFINISHED)
    path = Path(shutil.copy(path, tmp_path / "left"))
    left = Recording.read(path)
    assert left.ending is None
    assert left.outcomes.keys() == {0}
    assert [each.kind for each in records(path)].count(Kind.REQUEST) == 3
    recorder.close()
    (finished,) = (tmp_path / "live").iterdir()
    whole = Recording.read(finished)
    assert whole.ending == "the server stopped"  # told to stop, it finishes its files
    assert left.seconds <= whole.seconds < left.seconds + 100


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_content_that_is_not_of_its_kind_is_damage(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pwrec"
    started = pack(Kind.RESPONSE, 0, STARTED.SerializeToString())
    path.write_bytes(MAGIC + started + pack(Kind.HEADER, 0, content))
    damage = Recording.read(path).damage
    assert "invalid header record" in str(damage)

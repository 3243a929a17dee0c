from __future__ import annotations

import pytest

from posewire._streaming.retained import Retained
from posewire.resume import ResumePoint
from posewire.settings import Codec
from posewire.v1 import track_pb2


def request(number: int, size: int = 4) -> track_pb2.TrackRequest:
    return track_pb2.TrackRequest(frame=track_pb2.Frame(number=number, data=b"%d" % number * size))


def to_send(retained: Retained) -> list[int]:
    numbers, number = [], -1
    while (following := retained.next_to_send(number)) is not None:
        number = following.frame.number
        numbers.append(number)
    return numbers


def test_a_token_belongs_to_the_newest_tracked_frame_and_what_came_after_it_is_kept() -> None:
    retained = Retained("jpeg", replays=True)
    assert retained.resume_point is None
    for number in range(7):
        retained.add(request(number))
    retained.record_tracked(0)
    retained.record_tracked(1)
    retained.take_token(b"at 1")
    retained.record_tracked(2)
    retained.record_missed(3)
    retained.record_tracked(4)
    retained.record_tracked(5)
    assert retained.resume_point is not None
    assert (retained.resume_point.token, retained.resume_point.last_frame) == (b"at 1", b"1111")
    assert to_send(retained) == [2, 4, 5, 6]
    # At the next server, 2 and 4 are tracked again, and a new token comes with 4.
    retained.record_accepted()
    retained.record_tracked(2)
    retained.record_tracked(4)
    retained.take_token(b"at 4")
    assert (retained.resume_point.token, retained.resume_point.last_frame) == (b"at 4", b"4444")
    assert to_send(retained) == [5, 6]
    retained.record_refused()
    assert retained.resume_point is None
    assert to_send(retained) == [6]
    retained.take_token(b"of no frame")  # by a server that drains before it has tracked anything
    assert retained.resume_point == ResumePoint(b"of no frame", b"", "jpeg")


def test_a_stream_that_took_up_another_one_goes_on_from_there_until_it_has_a_token() -> None:
    start = ResumePoint(b"of the first stream", b"frame", "png")
    retained = Retained("jpeg", replays=True, start=start)
    assert retained.resume_point == start
    retained.take_token(b"on drain")  # nothing was tracked since then
    assert retained.resume_point == ResumePoint(b"on drain", b"frame", "png")
    retained.add(request(0))
    retained.record_tracked(0)
    retained.take_token(b"at 0")
    assert retained.resume_point == ResumePoint(b"at 0", b"0000", "jpeg")
    retained.record_refused()
    assert retained.resume_point is None
    forgotten = Retained("jpeg", replays=True, start=start)
    forgotten.record_refused()
    assert forgotten.resume_point is None


@pytest.mark.parametrize("replays", [True, False])
def test_a_server_that_drains_before_it_has_tracked_anything_gives_a_token_of_the_old_frame(replays: bool) -> None:
    retained = Retained("jpeg", replays=replays)
    for number in range(4):
        retained.add(request(number))
    retained.record_tracked(0)
    retained.take_token(b"at 0")
    retained.record_tracked(1)
    retained.record_tracked(2)  # by a server that dies, and its token with it
    retained.record_accepted()
    retained.take_token(b"at 0 again")
    assert retained.resume_point is not None
    assert (retained.resume_point.token, retained.resume_point.last_frame) == (b"at 0 again", b"0000")
    assert to_send(retained) == ([1, 2, 3] if replays else [3])


def test_without_replay_only_what_has_no_answer_is_kept() -> None:
    retained = Retained("jpeg", replays=False)
    for number in range(3):
        retained.add(request(number))
    retained.record_tracked(0)
    retained.take_token(b"at 0")
    retained.record_tracked(1)
    assert to_send(retained) == [2]


def test_what_is_kept_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posewire._streaming.retained._MOST_REPLAYED_BYTES", 100)
    retained = Retained("raw", replays=True)
    for number in range(10):
        retained.add(request(number, size=30))
        retained.record_tracked(number)
        if number == 0:
            retained.take_token(b"at 0")
    assert to_send(retained) == [7, 8, 9]
    assert retained.resume_point is not None
    assert retained.resume_point.last_frame == b"0" * 30  # the flow spans the gap
    retained.record_refused()
    retained.add(request(10, size=45))
    retained.record_tracked(10)
    assert to_send(retained) == [10]  # the room of those forgotten is free again


@pytest.mark.parametrize("codec", ["jpeg", "png", "raw", "h264", "h265"])
def test_only_pictures_are_last_frames(codec: Codec) -> None:
    retained = Retained(codec, replays=False)
    retained.add(request(0))
    retained.record_tracked(0)
    retained.take_token(b"at 0")
    packets = codec in ("h264", "h265")
    assert retained.resume_point == (ResumePoint(b"at 0") if packets else ResumePoint(b"at 0", b"0000", codec))


def test_after_the_end_only_the_resume_point_is_kept() -> None:
    retained = Retained("jpeg", replays=True)
    for number in range(4):
        retained.add(request(number))
    retained.record_tracked(0)
    retained.take_token(b"at 0")
    retained.record_tracked(1)
    assert to_send(retained) == [1, 2, 3]
    retained.forget_frames()
    assert to_send(retained) == []
    assert retained.resume_point is not None
    assert (retained.resume_point.token, retained.resume_point.last_frame) == (b"at 0", b"0000")

from __future__ import annotations

import pytest

from posewire.v1 import pose_pb2, track_pb2
from posewire_server.recording.comparison import Comparison
from posewire_server.recording.recording import Outcome


def people(**places: float) -> track_pb2.TrackedFrame:
    """Each person's id (after an underscore) and where the first joint is."""
    frame = track_pb2.TrackedFrame()
    for name, x in places.items():
        frame.people.append(pose_pb2.Person(id=int(name[1:]), joints=[x, 5.0, 0.9]))
    return frame


def one_person(*joints: float) -> track_pb2.TrackedFrame:
    return track_pb2.TrackedFrame(people=[pose_pb2.Person(id=1, joints=joints)])


FAILED = track_pb2.FailedFrame(reason=track_pb2.FAILURE_REASON_UNDECODABLE)
BAD_BOXES = track_pb2.FailedFrame(reason=track_pb2.FAILURE_REASON_BAD_BOXES)
UNKNOWN = track_pb2.FailedFrame(reason=99)  # type: ignore[arg-type]  # of a newer server
DROPPED = track_pb2.DroppedFrame(reason=track_pb2.DROP_REASON_TOO_OLD)


@pytest.mark.parametrize(
    ("recorded", "now", "says"),
    [
        (people(_1=10, _2=90), people(_2=90, _1=10), ""),  # the order is nothing
        (people(_1=10), people(_1=10.005), ""),  # within the tolerance
        (people(_1=10), people(_1=10.5), "id 1 are 0.500 px apart"),
        (people(_1=10), one_person(10.0, 5.5, 0.9), "id 1 are 0.500 px apart"),
        (people(_1=10), people(_1=float("nan")), "apart"),
        (people(_1=10), one_person(10.0, 5.0, 0.1), ""),  # scores are not places
        (people(_1=10), one_person(10.0, 5.0, 0.9, 30.0, 5.0, 0.9), "inf px apart"),  # other joints
        (people(_1=10), people(_2=10), "recorded ids 1; now 2"),
        (people(_1=10), people(), "recorded ids 1; now none"),
        (people(_1=10), FAILED, "now: failed"),
        (FAILED, FAILED, ""),
        (FAILED, DROPPED, "now: dropped"),
        (FAILED, people(_1=10), "recorded: failed (FAILURE_REASON_UNDECODABLE); now: tracked, ids 1"),
        (FAILED, BAD_BOXES, "recorded: failed (FAILURE_REASON_UNDECODABLE); now: failed (FAILURE_REASON_BAD_BOXES)"),
        (FAILED, UNKNOWN, "now: failed (99)"),
    ],
)
def test_what_differs_is_said(recorded: Outcome, now: Outcome, says: str) -> None:
    comparison = Comparison(0.01)
    comparison.add(7, recorded, now)
    if says:
        ((number, what),) = comparison.differences
        assert number == 7
        assert says in what
    else:
        assert comparison.differences == []
    assert comparison.frames == 1


def test_the_largest_distance_is_told() -> None:
    comparison = Comparison(0.5)
    assert comparison.worst_px == 0
    for x in (10.25, 10.125):
        comparison.add(0, people(_1=10, _2=20), people(_1=x, _2=20))
    assert (comparison.differences, comparison.worst_px) == ([], 0.25)


def test_the_ids_of_a_continued_stream_are_compared_but_for_their_names() -> None:
    comparison = Comparison(0.01, renamed=True)
    comparison.add(0, people(_7=10, _9=90), people(_1=10, _2=90))
    comparison.add(1, people(_7=12, _9=88, _10=50), people(_1=12, _2=88, _3=50))
    assert comparison.differences == []
    comparison.add(2, people(_7=14), people(_2=14))  # who was 1 is now 2
    assert len(comparison.differences) == 1


def test_each_of_the_renamed_has_a_name_of_its_own() -> None:
    comparison = Comparison(20, renamed=True)
    comparison.add(0, people(_7=10, _9=12), people(_1=10, _2=30))  # 1 is nearest to both
    assert comparison.differences == []
    comparison.add(1, people(_7=10, _9=30, _11=50), people(_1=10, _2=30))
    ((number, what),) = comparison.differences
    assert number == 1
    assert what.endswith("now 1, 2")


def test_who_has_no_counterpart_is_called_by_the_recorded_id() -> None:
    comparison = Comparison(0.01, renamed=True)
    comparison.add(0, people(_11=10), people(_1=10))
    comparison.add(1, people(_11=10, _12=90), people(_1=10))
    assert comparison.differences == [(1, "recorded ids 12 (as recorded), 1; now 1")]

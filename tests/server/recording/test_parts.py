"""However a stream goes, each of its frames is in one part, and so is what became of it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_server.recording import stream_recording
from posewire_server.recording.recorder import Recorder
from posewire_server.recording.recording import Recording
from posewire_server.recording.stream_recording import StreamRecording

_FRAME_BYTES = 100
_EVENTS = ("frame", "frame", "repeated", "tracked", "failed", "dropped", "told of drops")


def _failed(number: int, reason: track_pb2.FailureReason.ValueType) -> track_pb2.TrackResponse:
    return track_pb2.TrackResponse(failed=track_pb2.FailedFrame(number=number, reason=reason))


class Stream:
    """A stream that is recorded: frames come, and are answered for in any order, drops with the next response."""

    def __init__(self, recorder: Recorder) -> None:
        self.outcomes: dict[int, str] = {}
        self._recording = StreamRecording(recorder)
        self._waiting: list[int] = []
        self._dropped: list[int] = []
        self._next = 0
        config = settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG)
        self._recording.request(track_pb2.TrackRequest(config=config))
        self._answer(track_pb2.TrackResponse(started=track_pb2.StreamStarted(config=config)))

    def goes_on(self, event: str, choice: int) -> None:
        if event == "frame" or not self._waiting:
            self._waiting.append(self._next)
            self._comes(self._next)
            self._next += 1
        elif event == "repeated":
            number = choice % self._next
            self._comes(number)
            self._answer(_failed(number, track_pb2.FAILURE_REASON_BAD_NUMBER))
        elif event == "told of drops":
            self._answer(track_pb2.TrackResponse())
        else:
            number = self._waiting.pop(choice % len(self._waiting))
            self.outcomes[number] = event
            if event == "dropped":
                self._dropped.append(number)
            elif event == "tracked":
                self._answer(track_pb2.TrackResponse(tracked=track_pb2.TrackedFrame(number=number)))
            else:
                self._answer(_failed(number, track_pb2.FAILURE_REASON_UNDECODABLE))

    def ends(self) -> None:
        while self._waiting:
            self.goes_on("dropped", 0)
        self._answer(track_pb2.TrackResponse(summary=track_pb2.StreamSummary()))
        self._recording.end()

    def _comes(self, number: int) -> None:
        frame = track_pb2.Frame(number=number, data=bytes(_FRAME_BYTES))
        self._recording.request(track_pb2.TrackRequest(frame=frame))

    def _answer(self, response: track_pb2.TrackResponse) -> None:
        response.dropped.extend(track_pb2.DroppedFrame(number=number) for number in self._dropped)
        self._dropped.clear()
        self._recording.response(response)


def _outcomes(part: Recording) -> dict[int, str]:
    """Of the frames whose numbers are their own."""
    kinds = {track_pb2.TrackedFrame: "tracked", track_pb2.FailedFrame: "failed", track_pb2.DroppedFrame: "dropped"}
    return {
        number: kinds[type(outcome)]
        for number, outcome in part.outcomes.items()
        if getattr(outcome, "reason", None) != track_pb2.FAILURE_REASON_BAD_NUMBER
    }


@settings(max_examples=60)
@given(
    events=st.lists(st.tuples(st.sampled_from(_EVENTS), st.integers(0, 100)), min_size=1, max_size=60),
    frames_a_part=st.sampled_from([1, 2, 5, 1000]),
)
def test_each_frame_is_in_one_part_with_what_became_of_it(
    events: Sequence[tuple[str, int]], frames_a_part: int
) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(Recorder, "share_bytes", frames_a_part * _FRAME_BYTES),
        mock.patch.object(stream_recording, "_MOST_OVERDUE_SHARES", float("inf")),
    ):
        recorder = Recorder(Path(folder), 10**6)
        stream = Stream(recorder)
        for event, choice in events:
            stream.goes_on(event, choice)
        stream.ends()
        recorder.close()
        parts = [Recording.read(path) for path in Path(folder).iterdir()]
        assert {part.ending for part in parts} <= {"the stream continues in another file", "the stream ended"}
        assert sum(len(_outcomes(part)) for part in parts) == len(stream.outcomes)
        for part in parts:
            numbers = {frame.number for frame in part.frames()}
            assert _outcomes(part).items() <= stream.outcomes.items()
            assert _outcomes(part).keys() <= numbers <= part.outcomes.keys()

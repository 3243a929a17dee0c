"""The recording of streams, placed between gRPC and the service, which is unaware of it."""

from __future__ import annotations

from typing import Any

import grpc

from posewire.v1 import track_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceServicer
from posewire_server.recording.recorder import Recorder
from posewire_server.recording.stream_recording import StreamRecording

__all__ = ["RecordingTap"]


class RecordingTap:
    """A servicer that forwards all calls to another one, and records its streams.

    Args:
        service: handles the calls.
        recorder: writes the recordings.
    """

    def __init__(self, service: PoseTrackingServiceServicer, recorder: Recorder) -> None:
        self._service = service
        self._recorder = recorder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)

    async def Track(self, request_iterator: Any, context: Any) -> None:  # noqa: N802
        """See track.proto."""
        recording = StreamRecording(self._recorder)
        try:
            # Handlers are coroutines here; the generated base class declares them as synchronous.
            track: Any = self._service.Track
            await track(request_iterator, _TappedContext(context, recording))
        finally:
            recording.end()


class _TappedContext:
    """The context of a call; records all messages that pass through it."""

    def __init__(self, context: Any, recording: StreamRecording) -> None:
        self._context = context
        self._recording = recording

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        request = await self._context.read()
        if request is not grpc.aio.EOF:
            self._recording.request(request)
        return request

    async def write(self, response: track_pb2.TrackResponse) -> None:
        self._recording.response(response)
        await self._context.write(response)

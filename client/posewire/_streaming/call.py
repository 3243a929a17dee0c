"""One Track call: opening, writing, reading, ending; its failures are raised as exceptions of the SDK."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio

from posewire._channels.connections import Connection
from posewire._channels.forks import note_use
from posewire._channels.status import error_from_status
from posewire._wire import open_request, stream_info_from
from posewire.errors import ConnectionLost, MisuseError, ServerRefused, StreamBroken, TimedOut
from posewire.results import StreamInfo
from posewire.resume import ResumePoint
from posewire.settings import StreamSettings
from posewire.v1 import track_pb2

__all__ = ["TrackCall", "is_cancelled_task"]

T = TypeVar("T")
_Call: TypeAlias = "grpc.aio.StreamStreamCall[track_pb2.TrackRequest, track_pb2.TrackResponse]"

_log = logging.getLogger(__name__)

# The details that gRPC gives a failed write.
_STAND_IN = "Internal error from Core"


class TrackCall:
    """An open bidirectional call to `Track`. Make one with `TrackCall.open`.

    Attributes:
        info: what the server decided on.
        address: of the server.
    """

    def __init__(
        self,
        call: _Call,
        connection: Connection,
        status: _FirstStatus,
        info: StreamInfo,
    ):
        self._call: _Call | None = call
        self._connection: Connection | None = connection  # keeps a replaced channel open
        self._status = status
        self._writing = asyncio.Lock()
        self._cancelled_here = False
        self.address = connection.address
        self.info = info

    @classmethod
    async def open(
        cls,
        connection: Connection,
        settings: StreamSettings,
        resume: ResumePoint | None,
        timeout_s: float,
        limit: str = "timeout_s",
    ) -> TrackCall:
        """Send the configuration and wait until the server has accepted it.

        Raises:
            CallError: the server cannot be reached, refuses, or takes longer than `timeout_s`, the setting `limit`.
            StreamBroken: the first response is something else, or makes no sense.
            MisuseError: the client was closed meanwhile.
        """
        address = connection.address
        call = note_use(connection.stub.Track(metadata=connection.metadata))
        status = _FirstStatus(call)
        try:
            async with asyncio.timeout(timeout_s):
                with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):  # over: `read` raises why
                    await call.write(open_request(settings, resume))
                response = await call.read()
            if isinstance(response, track_pb2.TrackResponse) and response.WhichOneof("event") == "started":
                return cls(call, connection, status, _info_from(response.started, settings, address))
            raise StreamBroken(f"the server at {address} did not begin the stream with its settings; is it posewire?")
        except TimeoutError:
            call.cancel()
            raise TimedOut(
                f"opening a stream at {address}: the server has not answered for {timeout_s:g} s;"
                f" look at its log, or raise {limit}",
                code=grpc.StatusCode.DEADLINE_EXCEEDED.name,
            ) from None
        except grpc.aio.AioRpcError as error:
            raise error_from_status(
                status.error or error, address, "opening a stream", is_anonymous=connection.is_anonymous
            ) from error
        except asyncio.CancelledError:
            call.cancel()
            if is_cancelled_task():
                raise
            raise MisuseError("this stream was closed before its end: its client was, while it was opening") from None
        except BaseException:
            call.cancel()
            raise

    async def write(self, request: track_pb2.TrackRequest) -> bool:
        """Send a request as flow control allows; False if the call is over: `read` raises the reason.

        Cancelling this cancels the call: a partly sent message cannot be taken back.
        """
        async with self._writing:
            if self._call is None:
                return False
            try:
                await self._call.write(request)
            except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
                return False
            except asyncio.CancelledError:
                if is_cancelled_task():
                    self._cancelled_here = True
                    raise
                return False
            return True

    async def half_close(self) -> None:
        """Tell the server that no more frames come."""
        async with self._writing:
            if self._call is None:
                return
            try:
                await self._call.done_writing()
            except Exception:  # noqa: BLE001  also gRPC's internal errors if the call is over or breaks meanwhile
                _log.debug("the end of the frames could not be sent; reading raises the reason", exc_info=True)

    async def read(self) -> track_pb2.TrackResponse | None:
        """The next response; None after the last one of a call that ended normally.

        Raises:
            ServerRefused: the server ended the stream because of something it was sent.
            ConnectionLost: the connection or the server failed, or the token was withdrawn and there is a newer one.
            StreamBroken: the call was cancelled from this side.
        """
        if self._call is None:
            raise self._cancelled()
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            status = self._status.error or error
            failure = error_from_status(status, self.address, "streaming")
            if isinstance(failure, ServerRefused) and not self._was_token_replaced(status):
                raise failure from error
            raise ConnectionLost(f"the stream {self.info.stream_id} broke: {failure}") from failure
        except asyncio.CancelledError:
            if is_cancelled_task():
                raise
            if self._cancelled_here:
                raise self._cancelled() from None
            raise ConnectionLost(f"the stream {self.info.stream_id} was cancelled by the server") from None
        if response is None:  # gRPC could not parse it
            self.cancel()
            raise ConnectionLost(
                f"a response of the stream {self.info.stream_id} cannot be read: it was damaged on its way, or is none"
                " of posewire's"
            )
        return response if isinstance(response, track_pb2.TrackResponse) else None

    def cancel(self) -> None:
        """End the call at once; harmless if it is over.

        Drops gRPC's objects: the call would keep its channel and its thread alive, and so break forked processes.
        """
        self._cancelled_here = True
        call, self._call, self._connection = self._call, None, None
        if call is not None:
            call.cancel()

    def _was_token_replaced(self, refusal: grpc.aio.AioRpcError) -> bool:
        """Whether the server refuses the token of this call, and there is a newer one."""
        is_of_token = refusal.code() is grpc.StatusCode.UNAUTHENTICATED
        return is_of_token and self._connection is not None and self._connection.has_newer_token()

    def _cancelled(self) -> StreamBroken:
        return StreamBroken(f"the stream {self.info.stream_id} was cancelled by this client")


class _FirstStatus:
    """Keeps the status with which the server ended a call.

    A write in progress when the server ends the call fails, and gRPC then replaces the server's status, with its
    reason, by one of its own.

    Attributes:
        error: the server's status as an exception; None until there is one, and if it is OK.
    """

    def __init__(self, call: grpc.aio.Call):
        self.error: grpc.aio.AioRpcError | None = None
        call.add_done_callback(self._note)

    def _note(self, call: grpc.aio.Call) -> None:
        """Called whenever gRPC sets a status: once, or twice in either order."""
        code = _result_if_ready(call.code())
        known = self.error is not None and self.error.details() != _STAND_IN
        if not known and code is not None and code is not grpc.StatusCode.OK:
            self.error = grpc.aio.AioRpcError(
                code,
                initial_metadata=grpc.aio.Metadata(),
                trailing_metadata=_result_if_ready(call.trailing_metadata()) or grpc.aio.Metadata(),
                details=_result_if_ready(call.details()),
            )


def _result_if_ready(work: Coroutine[Any, Any, T]) -> T | None:
    """The result of a coroutine if it is available without waiting; else None."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    work.close()
    return None


def _info_from(started: track_pb2.StreamStarted, settings: StreamSettings, address: str) -> StreamInfo:
    try:
        return stream_info_from(started, settings)
    except ValueError as error:
        raise StreamBroken(
            f"the first response of the server at {address} is invalid: {error}; this is a fault of the server:"
            " report it"
        ) from error


def is_cancelled_task() -> bool:
    """Whether the current task is being cancelled; gRPC raises the same exception if only the call is cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

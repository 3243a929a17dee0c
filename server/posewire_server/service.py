"""The gRPC servicer: Track, EstimatePoses, GetServerInfo, ListStreams."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import metadata
from typing import Any, TypeAlias, TypeVar, cast

import grpc

from posewire.joints import JOINT_SETS
from posewire.v1 import pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceServicer
from posewire_server.admission.access import current_caller, who_calls
from posewire_server.admission.call_rates import CallKind, CallRates
from posewire_server.admission.decoding_shares import DecodingShare
from posewire_server.admission.openings import Openings
from posewire_server.admission.places import Places
from posewire_server.admission.refusals import Refusals
from posewire_server.admission.tokens import Caller
from posewire_server.config import LimitsConfig, ServerConfig
from posewire_server.errors import NotPermitted, OutOfOrder, ServiceError, Stalled
from posewire_server.observability.logs import current_stream, facts
from posewire_server.observability.metrics import StreamEnding
from posewire_server.pictures import PictureEstimator
from posewire_server.streams.frame_clock import FrameClock
from posewire_server.streams.inbox import DropPolicy
from posewire_server.streams.outbox import Outbox
from posewire_server.streams.resume import continue_session
from posewire_server.streams.session import Session
from posewire_server.streams.stream import Shared, TrackStream
from posewire_server.tracebacks import forget_locals
from posewire_server.tracking import Tracker
from posewire_server.wire.names import CODECS
from posewire_server.wire.requests import ResumeRequest, StreamSettings, settings_from
from posewire_server.wire.responses import (
    joint_set_message,
    limits_message,
    models_message,
    settings_message,
    stream_state_message,
    tracker_message,
)
from posewire_server.wire.status import abort

__all__ = ["SERVICE", "PoseTrackingService"]

log = logging.getLogger(__name__)

SERVICE = pose_tracking_service_pb2.DESCRIPTOR.services_by_name["PoseTrackingService"].full_name
"""The name of the service in the paths of its calls."""

Answer = TypeVar("Answer")
_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_EstimateRequest: TypeAlias = pose_tracking_service_pb2.EstimatePosesRequest
_EstimateResponse: TypeAlias = pose_tracking_service_pb2.EstimatePosesResponse

# A stream whose configuration has not arrived by then is ended, since it occupies a place.
_OPENING_TIMEOUT_S = 30.0


class PoseTrackingService(PoseTrackingServiceServicer):
    """The servicer.

    Args:
        config: of the server.
        shared: what all streams share.
    """

    def __init__(self, config: ServerConfig, shared: Shared) -> None:
        self._config = config
        self._shared = shared
        self.places = Places(config.limits, shared.drain)
        self.rates = CallRates(config.limits, self.places)
        self.refusals = Refusals(shared.metrics.call_refused)
        self._openings = Openings(config.limits)
        self._pictures = PictureEstimator(config, shared.pipeline, shared.shares, shared.decoding)
        self._open: dict[str, TrackStream] = {}  # by stream id
        self._version = metadata.version("posewire")  # reads files, which takes longer than the rest of the answer

    # -- Track ---------------------------------------------------------------------------------------------------------

    async def Track(self, request_iterator: object, context: _Context) -> None:  # type: ignore[override]  # noqa: N802
        """See track.proto."""
        current_stream.set(secrets.token_hex(4))
        await self._answer("Track", context, self._track(context))

    async def _track(self, context: _Context) -> None:
        async def read() -> track_pb2.TrackRequest | None:
            request = await context.read()
            return None if request is grpc.aio.EOF else cast(track_pb2.TrackRequest, request)

        networks = self._shared.pipeline.networks
        caller, who = current_caller.get(), who_calls(context)
        rate = await self.rates.turn(CallKind.OPENING, who)
        with self.places.opening(caller):
            configuration = await _configuration(self.places.unless_draining(read()))
        await self.places.unless_draining(self._openings.turn(who))
        rate.give_back()  # the stream is limited by `places` from here on
        limits = caller.within(self._config.limits)
        requested = settings_from(configuration, self._config.tracker, limits, networks.joint_set)
        # The stream must not keep the last frame that it is resumed with.
        earlier, settings = requested.resume, replace(requested, resume=None)
        del configuration, requested
        continued = "" if earlier is None else self._shared.snapshots.stream_of(earlier.token)
        if continued and self.places.why_full(caller):
            self._end_earlier(continued, caller)
        await self.places.cancelled_streams(caller)
        with self.places.for_stream(caller), self._shared.shares.of(who) as share:
            session = Session(
                current_stream.get(),
                Tracker(settings.tracker, networks.joint_set.sigmas),
                FrameClock(may_drop=settings.drop_policy is DropPolicy.LATEST or settings.max_age_ms > 0),
            )
            outbox = Outbox(context.write, self._shared.metrics)
            stream = TrackStream(session, settings, self._shared, read, outbox, share, caller, continued)
            with self._listed(stream, context.peer()):
                resume = await self._resume(session, settings, earlier, share, limits)
                del earlier
                await context.send_initial_metadata(())  # else a client that never reads would not learn of the end
                await self._begin(outbox, self._started(session.stream_id, settings, resume), limits)
                await stream.run()

    def _end_earlier(self, continued: str, caller: Caller) -> None:
        """End the stream of `caller` that is to be continued: its connection is lost, though nobody knows it here.

        Also one that has continued it, and whose connection was lost before its client got a token of its own.
        """
        for stream_id, stream in self._open.items():
            if continued in (stream_id, stream.continues) and stream.progress.caller == caller.name:
                stream.give_way()

    @contextmanager
    def _listed(self, stream: TrackStream, peer: str) -> Iterator[None]:
        """A stream while it is open: for ListStreams, the log and the metrics. In the end it is closed.

        Args:
            stream: the stream.
            peer: its client's address, in gRPC's form.
        """
        progress = stream.progress
        session, settings = progress.session, progress.settings
        log.info(
            "stream opened",
            extra=facts(
                peer=peer,
                name=settings.name,
                codec=settings.codec,
                policy=settings.drop_policy,
                **({"caller": progress.caller} if progress.caller else {}),
            ),
        )
        self._open[session.stream_id] = stream
        ending = StreamEnding.BROKEN_OFF  # unless it ends otherwise
        try:
            yield
            ending = StreamEnding.IN_ORDER
        except ServiceError:
            ending = StreamEnding.REFUSED
            raise
        finally:
            stream.close()
            del self._open[session.stream_id]
            self._shared.metrics.stream_closed(ending)
            log.info(
                "stream closed",
                extra=facts(
                    ending=ending,
                    seconds=round(progress.open_for_s, 3),
                    **progress.accounts.outcomes,
                    identities=session.tracker.identities,
                ),
            )

    async def _resume(
        self,
        session: Session,
        settings: StreamSettings,
        request: ResumeRequest | None,
        share: DecodingShare,
        limits: LimitsConfig,
    ) -> track_pb2.ResumeOutcome:
        if request is None:
            return track_pb2.ResumeOutcome(resumed=False)
        refusal = await continue_session(session, settings, request, self._shared.snapshots, share, limits)
        self._shared.metrics.resumed(refused=bool(refusal))
        return track_pb2.ResumeOutcome(resumed=not refusal, refusal=refusal)

    async def _begin(self, outbox: Outbox, started: track_pb2.StreamStarted, limits: LimitsConfig) -> None:
        """Send the first response. After that, the stream itself checks whether its client reads."""
        try:
            async with asyncio.timeout(limits.max_stall_s):
                await outbox.started(started)
        except TimeoutError:
            raise Stalled(
                f"the first response was not read for {limits.max_stall_s:g} s (limits.max_stall_s): read responses"
            ) from None

    def _started(
        self, stream_id: str, settings: StreamSettings, resume: track_pb2.ResumeOutcome
    ) -> track_pb2.StreamStarted:
        return track_pb2.StreamStarted(
            stream_id=stream_id,
            config=settings_message(settings),
            joint_set=joint_set_message(settings.joint_set),
            models=models_message(self._shared.pipeline.networks.names),
            resume=resume,
        )

    # -- EstimatePoses -------------------------------------------------------------------------------------------------

    async def EstimatePoses(  # noqa: N802
        self, request: _EstimateRequest, context: _Context
    ) -> _EstimateResponse:
        """See pose_tracking_service.proto."""
        return await self._answer("EstimatePoses", context, self._estimate(request, context))

    async def _estimate(self, request: _EstimateRequest, context: _Context) -> _EstimateResponse:
        response = await self._pictures.estimate(request, current_caller.get(), who_calls(context))
        self._shared.metrics.picture_answered()
        return response

    # -- GetServerInfo -------------------------------------------------------------------------------------------------

    async def GetServerInfo(  # noqa: N802
        self, request: pose_tracking_service_pb2.GetServerInfoRequest, context: _Context
    ) -> pose_tracking_service_pb2.GetServerInfoResponse:
        """See pose_tracking_service.proto."""
        networks = self._shared.pipeline.networks
        return pose_tracking_service_pb2.GetServerInfoResponse(
            version=self._version,
            device=networks.device,
            models=models_message(networks.names),
            joint_set=joint_set_message(networks.joint_set),
            joint_sets=sorted({networks.joint_set.name, *JOINT_SETS}),
            codecs=list(CODECS),
            limits=limits_message(current_caller.get().within(self._config.limits)),
            tracker_defaults=tracker_message(self._config.tracker),
            active_streams=self.places.streams,
            has_detector=networks.detector is not None,
        )

    # -- ListStreams ---------------------------------------------------------------------------------------------------

    async def ListStreams(  # noqa: N802
        self, request: pose_tracking_service_pb2.ListStreamsRequest, context: _Context
    ) -> pose_tracking_service_pb2.ListStreamsResponse:
        """See pose_tracking_service.proto."""
        return await self._answer("ListStreams", context, self._list(request))

    async def _list(
        self, request: pose_tracking_service_pb2.ListStreamsRequest
    ) -> pose_tracking_service_pb2.ListStreamsResponse:
        caller = current_caller.get()
        if request.all_callers and not caller.grant.admin:
            raise NotPermitted(
                f"the token of {caller.name!r} shows its own streams only; leave all_callers out, or use one "
                "with `admin`",
                field="all_callers",
            )
        opened = (stream.progress for stream in self._open.values())
        shown = (each for each in opened if request.all_callers or each.caller == caller.name)
        return pose_tracking_service_pb2.ListStreamsResponse(streams=map(stream_state_message, shown))

    async def _answer(self, method: str, context: _Context, handling: Awaitable[Answer]) -> Answer:
        """Await a handler; any exception becomes the status of the call."""
        try:
            return await handling
        except BaseException as error:  # the one place that handles them; `abort` logs those that are not a client's
            forget_locals(error)
            if isinstance(error, grpc.aio.AbortError) or not isinstance(error, Exception):
                raise
            # The client is gone, or gRPC has stopped; wrong usage of gRPC would be the server's own fault.
            if isinstance(error, grpc.aio.BaseError) and not isinstance(error, grpc.aio.UsageError):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the call has broken off")
            if isinstance(error, ServiceError):
                self.refusals.refused(f"/{SERVICE}/{method}", context.peer(), who_calls(context), error)
            else:
                self._shared.metrics.call_refused("internal")
            await abort(context, error)


async def _configuration(reading: Awaitable[track_pb2.TrackRequest | None]) -> settings_pb2.StreamConfig:
    """The first request of a stream."""
    try:
        async with asyncio.timeout(_OPENING_TIMEOUT_S):
            request = await reading
    except TimeoutError:
        raise OutOfOrder(f"no configuration came within {_OPENING_TIMEOUT_S:g} s of opening the stream") from None
    if request is None:
        raise OutOfOrder("the stream ended before its configuration; send one `config` first, then frames")
    if (kind := request.WhichOneof("request")) != "config":
        came = "an empty request" if kind is None else "a frame"
        raise OutOfOrder(f"{came} came before the configuration; send one `config` first, then frames", field="config")
    return request.config

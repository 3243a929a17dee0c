"""Continuing an earlier stream of a client."""

from __future__ import annotations

import logging
from dataclasses import replace

from posewire_models.frames import Frame
from posewire_server.admission.decoding_shares import DecodingShare
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import RAW_CODECS, VIDEO_CODECS, PictureDecoder
from posewire_server.errors import FrameError, ServiceError, WrongSize
from posewire_server.streams.session import Session
from posewire_server.streams.snapshots import Snapshot, Snapshots, TokenRefused
from posewire_server.wire.requests import ResumeRequest, StreamSettings

__all__ = ["continue_session", "snapshot_of"]

log = logging.getLogger(__name__)

# A token is sent every second and must fit into a message: it holds at most this many of the newest instances of Q. An
# instance with 19 joints takes half a kilobyte.
_MOST_INSTANCES = 2000


def snapshot_of(session: Session) -> Snapshot:
    """What another session needs to continue this one. Call it between two frames."""
    by_capture = session.clock.by_capture  # times of arrival mean nothing to another server
    state = session.tracker.state()
    return Snapshot(
        replace(state, queue=state.queue.shortened(_MOST_INSTANCES)),
        session.size,
        session.previous_s if by_capture else None,
        session.clock.interval_s if by_capture else None,
    )


async def continue_session(
    session: Session,
    settings: StreamSettings,
    request: ResumeRequest,
    snapshots: Snapshots,
    share: DecodingShare,
    limits: LimitsConfig,
) -> str:
    """Restore the state of an earlier session into a new one.

    The flow starts from the last frame of the earlier stream. If that is missing or unusable, ids still continue:
    everybody is then assumed to have stood still in between.

    Returns:
        Empty, or why the request was refused; the session is then unchanged.
    """
    try:
        snapshot = snapshots.redeem(request.token, session.tracker.config)
    except TokenRefused as refusal:
        log.info("resume refused: %s", refusal)
        return str(refusal)
    session.tracker.restore(snapshot.state)
    session.previous_s, session.size = snapshot.frame_s, snapshot.frame_size
    if snapshot.interval_s is not None:
        session.clock.resume(snapshot.interval_s)
    if request.last_frame and snapshot.frame_size is not None:
        try:
            frame = await share.run_to_end(lambda: _last_frame(request, settings, snapshot, limits))
        except ServiceError as error:
            log.warning("the last frame of a resumed stream cannot be used: %s", error)
        else:
            frame.taken_s = snapshot.frame_s
            session.previous = frame
    return ""


def _last_frame(request: ResumeRequest, settings: StreamSettings, snapshot: Snapshot, limits: LimitsConfig) -> Frame:
    """On a decoding thread."""
    if request.last_frame_codec in VIDEO_CODECS:
        raise FrameError("a frame of a video cannot be decoded without those before it; send it as JPEG or PNG")
    if len(request.last_frame) > limits.max_frame_bytes:
        raise FrameError(f"it has {len(request.last_frame)} bytes; {limits.max_frame_bytes} are accepted")
    if request.last_frame_codec in RAW_CODECS and settings.raw_size is None:
        raise FrameError("a raw frame has no size of its own: send raw_size with the configuration")
    frame = Frame(PictureDecoder(request.last_frame_codec, settings.raw_size, limits).decode(request.last_frame))
    if frame.size != snapshot.frame_size:
        raise WrongSize(f"it is {frame.size} (height, width); the snapshot belongs to {snapshot.frame_size}")
    return frame

"""EstimatePoses: one picture, no ids."""

from __future__ import annotations

import asyncio
import time
from typing import TypeAlias

from posewire.v1 import pose_pb2, pose_tracking_service_pb2
from posewire_models.frames import Frame
from posewire_server.admission.decoding_shares import DecodingShares
from posewire_server.admission.tokens import Caller
from posewire_server.config import ServerConfig
from posewire_server.decoding.decoders import PICTURE_CODECS
from posewire_server.decoding.decoding import Decoding
from posewire_server.errors import LimitReached, PictureTooLarge
from posewire_server.inference.pipeline import Pipeline
from posewire_server.wire.requests import boxes_from, codec_from, raw_size_from, score_threshold_from, wanted_joint_set
from posewire_server.wire.responses import joint_set_message, people_messages, timings_message

__all__ = ["PictureEstimator"]

_Request: TypeAlias = pose_tracking_service_pb2.EstimatePosesRequest
_Response: TypeAlias = pose_tracking_service_pb2.EstimatePosesResponse

# To the batchers, all single pictures count as one stream, and they leave one decoding thread free if there are
# several, so that many pictures do not delay the streams.
_PICTURES = "pictures"


class PictureEstimator:
    """Answers EstimatePoses calls.

    Args:
        config: of the server.
        pipeline: the networks.
        shares: divides the decoding threads between callers.
        decoding: the decoders to use.
    """

    def __init__(self, config: ServerConfig, pipeline: Pipeline, shares: DecodingShares, decoding: Decoding) -> None:
        self._config = config
        self._pipeline = pipeline
        self._shares = shares
        self._decoding = decoding
        self._may_decode = asyncio.Semaphore(max(1, decoding.threads(config) - 1))

    async def estimate(self, request: _Request, caller: Caller, who: str) -> _Response:
        """Estimate the poses in a picture that has been admitted (see `Places.for_picture`).

        Args:
            request: as it came.
            caller: who sent it.
            who: the same, as decoding threads are shared by it; see `caller_key`.

        Raises:
            ServiceError: the request is invalid, or exceeds the rate of the caller's token.
        """
        arrived_s = time.monotonic()
        tracker, networks = self._config.tracker, self._pipeline.networks
        limits = caller.within(self._config.limits)
        codec = codec_from(request.codec, "codec", PICTURE_CODECS)
        decoder = self._decoding.picture_decoder(
            codec, raw_size_from(request.raw_size, codec, limits, "raw_size"), limits
        )
        wanted = wanted_joint_set(request.joint_set, networks.joint_set, "joint_set")
        threshold = score_threshold_from(request, tracker)
        given = boxes_from(request.boxes, limits) if request.HasField("boxes") else None
        if len(request.data) > limits.max_frame_bytes:
            raise PictureTooLarge(
                f"the picture has {len(request.data)} bytes; this server accepts {limits.max_frame_bytes} "
                "(limits.max_frame_bytes): compress it more",
                field="data",
            )
        if caller.rate is not None and not caller.rate.take():
            raise LimitReached(f"your token allows {caller.rate.per_s:g} frames and pictures a second; send fewer")

        def decode() -> tuple[Frame, float, float]:
            """On a decoding thread; with the frame, when this began and how long it took."""
            began_s = time.monotonic()
            frame = self._decoding.frame(decoder.decode(request.data))
            return frame, began_s, (time.monotonic() - began_s) * 1e3

        with self._shares.of(who) as share:
            async with self._may_decode:
                # A cancelled call keeps its place until then: else its successors would pile up in front of the
                # threads.
                frame, began_s, decode_ms = await share.run_to_end(decode)
        queue_ms = (began_s - arrived_s) * 1e3
        found = await self._pipeline.estimate(
            frame, given, box_score_threshold=threshold, max_people=tracker.max_people, stream=_PICTURES
        )
        height, width = frame.size
        total_ms = (time.monotonic() - arrived_s) * 1e3
        return _Response(
            size=pose_pb2.FrameSize(width=width, height=height),
            joint_set=joint_set_message(wanted),
            people=people_messages(found.as_people(tracker.joint_score_threshold), networks.joint_set, wanted),
            timings=timings_message(found.times, queue_ms=queue_ms, decode_ms=decode_ms, total_ms=total_ms),
        )

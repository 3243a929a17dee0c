"""The decoders that the streams of a server use, on the CPU or a GPU, and the upload of their frames."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import torch
from torch import Tensor

from posewire_models.frames import Frame
from posewire_server.config import LimitsConfig, ServerConfig
from posewire_server.decoding.decoders import VIDEO_CODECS, Codec, FrameDecoder, PictureDecoder, Pixels
from posewire_server.decoding.jpeg_batches import JpegBatches
from posewire_server.decoding.video import VideoDecoder

__all__ = ["Decoding"]

log = logging.getLogger(__name__)

# Threads that only wait for the GPU: its batches may hold this many pictures.
_WAITING_THREADS = 32


@dataclass(frozen=True, eq=False)
class Decoding:
    """The decoders for all streams.

    Attributes:
        device: of the networks; frames are uploaded to it as soon as they are decoded.
        jpegs: the GPU's JPEG decoder; None: the CPU decodes.
        video_gpu: number of the GPU whose video decoder is used; None: the CPU decodes.
    """

    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    jpegs: JpegBatches | None = None
    video_gpu: int | None = None

    def decoder(self, codec: Codec, raw_size: tuple[int, int] | None, limits: LimitsConfig) -> FrameDecoder:
        """A decoder for one stream."""
        if codec in VIDEO_CODECS:
            return VideoDecoder(codec, limits, self.video_gpu)
        return self.picture_decoder(codec, raw_size, limits)

    def picture_decoder(self, codec: Codec, raw_size: tuple[int, int] | None, limits: LimitsConfig) -> PictureDecoder:
        """A decoder for independent pictures."""
        return PictureDecoder(codec, raw_size, limits, self.jpegs)

    def frame(self, pixels: Pixels | Tensor) -> Frame:
        """The frame, with its upload to the device started. Call it on a decoding thread."""
        frame = Frame(pixels)
        try:
            frame.send_to(self.device)
        except RuntimeError as error:
            # The stage that needs it there will try again, and fail only this frame.
            log.warning("a frame could not be uploaded: %s", error)
        return frame

    def threads(self, config: ServerConfig) -> int:
        """Number of decoding threads."""
        return (
            config.decoding_thread_count if self.jpegs is None else max(config.decoding_thread_count, _WAITING_THREADS)
        )

    def in_words(self) -> dict[str, str]:
        """The chosen decoders, for the log."""
        return {
            "jpegs_on": "cpu" if self.jpegs is None else "gpu",
            "video_on": "cpu" if self.video_gpu is None else "gpu",
        }

    def close(self) -> None:
        """End its threads."""
        if self.jpegs is not None:
            self.jpegs.close()

"""Sources of frames: video files, cameras, network streams, folders of pictures, and arrays from programs."""

from posewire.sources._arrays import ArraySource
from posewire.sources._folder import PICTURE_SUFFIXES, FolderSource, read_picture
from posewire.sources._frames import Source, SourceFrame
from posewire.sources._open import AsyncSourceLike, SourceLike, open_source
from posewire.sources._packets import PacketSource
from posewire.sources._video import VideoSource

__all__ = [
    "PICTURE_SUFFIXES",
    "ArraySource",
    "AsyncSourceLike",
    "FolderSource",
    "PacketSource",
    "Source",
    "SourceFrame",
    "SourceLike",
    "VideoSource",
    "open_source",
    "read_picture",
]

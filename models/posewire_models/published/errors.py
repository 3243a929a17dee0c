"""Errors of published weights.

PublishedError(ValueError)
├── UnknownFileError         no such file or bundle; the message lists the known ones
├── NotStoredError           known, but not fetched yet; the message says which command fetches it
├── DownloadError            could not be reached, was cut short, or is another file than it says
├── UnreadableError          damaged, or more than tensors and plain containers; nothing of it was run
├── UnknownCheckpointError   readable, but of no network that posewire knows
└── StoreError               the cache folder cannot be written, or what lies there is damaged
"""

from __future__ import annotations

__all__ = [
    "DownloadError",
    "NotStoredError",
    "PublishedError",
    "StoreError",
    "UnknownCheckpointError",
    "UnknownFileError",
    "UnreadableError",
]


class PublishedError(ValueError):
    """Something is wrong with published weights; the message says what and what to do."""


class UnknownFileError(PublishedError):
    """No file or bundle of this name."""


class NotStoredError(PublishedError):
    """Published weights that are needed have not been fetched."""


class DownloadError(PublishedError):
    """A file could not be fetched, or arrived incomplete or wrong."""


class UnreadableError(PublishedError):
    """A file is not a checkpoint, or cannot be read without trusting it."""


class UnknownCheckpointError(PublishedError):
    """A checkpoint's tensors are not those of a network that posewire knows."""


class StoreError(PublishedError):
    """The store of converted weights cannot be written or read."""

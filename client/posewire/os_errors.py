"""The words of errors of the operating system, for messages that name the file themselves."""

from __future__ import annotations

__all__ = ["reason_of"]


def reason_of(error: Exception) -> str:
    """What went wrong, without the number and the file name that Python's own text of an `OSError` has."""
    return getattr(error, "strerror", None) or str(error)

"""Errors that are kept must not keep what they came through."""

from __future__ import annotations

import traceback

__all__ = ["forget_locals"]


def forget_locals(error: BaseException) -> None:
    """Drop the local variables of all functions that an error has left, those of its causes included.

    A traceback holds on to them: to decoded frames, and on a GPU to their memory. gRPC keeps the error of its last call
    until another one comes, and errors that refer to each other wait for Python's cycle collector. Where in the source
    the error came from can still be told.
    """
    seen: set[int] = set()
    rest: list[BaseException | None] = [error]
    while rest:
        each = rest.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        traceback.clear_frames(each.__traceback__)
        rest += [each.__cause__, each.__context__, *(each.exceptions if isinstance(each, BaseExceptionGroup) else ())]

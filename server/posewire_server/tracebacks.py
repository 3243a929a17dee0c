"""Freeing what the traceback of an error keeps alive."""

from __future__ import annotations

import traceback

__all__ = ["forget_locals"]


def forget_locals(error: BaseException) -> None:
    """Clear the local variables in the tracebacks of an error and its causes.

    They keep decoded frames alive, also on a GPU. gRPC keeps the error of its last call until the next one, and errors
    that refer to each other wait for Python's cycle collector. The tracebacks can still be printed.
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

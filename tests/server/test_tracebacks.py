from __future__ import annotations

import traceback
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from posewire_server.tracebacks import forget_locals

PIXELS: list[weakref.ref[np.ndarray]] = []


def fails() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    PIXELS.append(weakref.ref(pixels))
    raise ValueError("no such picture")


def fails_because_something_did() -> None:
    try:
        fails()
    except ValueError as error:
        raise RuntimeError("so this failed") from error


def fails_while_it_cleans_up() -> None:
    try:
        fails()
    finally:
        raise RuntimeError("and cleaning up failed too")


def fails_in_several_ways() -> None:
    errors = []
    for _ in range(2):
        try:
            fails()
        except ValueError as error:
            errors.append(error)
    raise ExceptionGroup("all of it failed", errors)


@pytest.mark.parametrize(
    "function", [fails, fails_because_something_did, fails_while_it_cleans_up, fails_in_several_ways]
)
def test_an_error_that_is_kept_keeps_no_pixels(function: Callable[[], None]) -> None:
    PIXELS.clear()
    with pytest.raises(Exception, match=r"picture|failed") as caught:
        function()
    assert all(pixels() is not None for pixels in PIXELS)
    forget_locals(caught.value)
    assert all(pixels() is None for pixels in PIXELS)
    assert function.__name__ in "".join(traceback.format_exception(caught.value))  # where it came from is still known

"""How often the detector runs on the frames of one stream: less often while the server is overloaded."""

from __future__ import annotations

__all__ = ["DetectorPace"]

# `detect_every` is doubled when this many of the last `_STRAIN_WINDOW` frames were strained.
_STRAINED = 4
_STRAIN_WINDOW = 8
# It is lowered after this many frames in a row without strain; if that was too early, the next time needs twice as
# many.
_CALM = 32
_MOST_CALM = 1024


class DetectorPace:
    """Raises `detect_every` under load by doubling it, and lowers it again step by step.

    Args:
        least: the value that the client asked for.
        most: the highest allowed value.

    Attributes:
        every: the value in force.
    """

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, max(least, most)
        self.every = least
        self._recent: list[bool] = []
        self._calm = 0
        self._calm_needed = _CALM
        self._relaxed = False  # whether the last change lowered it

    def frame_tracked(self, *, strained: bool) -> int:
        """A frame was tracked.

        Args:
            strained: whether frames were dropped since the previous one, the next one was waiting, or the detector had
                a queue.

        Returns:
            The value for the next frame.
        """
        self._recent = [*self._recent[1 - _STRAIN_WINDOW :], strained]
        self._calm = 0 if strained else self._calm + 1
        if sum(self._recent) >= _STRAINED and self.every < self._most:
            if self._relaxed:
                self._calm_needed = min(_MOST_CALM, 2 * self._calm_needed)
            self._change(min(self._most, 2 * self.every), relaxed=False)
        elif self._calm >= self._calm_needed and self.every > self._least:
            self._change(max(self._least, (self.every + 1) // 2), relaxed=True)
        return self.every

    def _change(self, every: int, *, relaxed: bool) -> None:
        self.every, self._relaxed = every, relaxed
        self._recent, self._calm = [], 0  # earlier frames say nothing about the new value

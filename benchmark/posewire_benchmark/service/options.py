"""Settings of the service benchmark."""

from __future__ import annotations

from dataclasses import dataclass

from posewire_benchmark.clips import ClipOptions
from posewire_server.config import ServerConfig
from posewire_server.ranges import check_range

__all__ = ["BenchmarkOptions"]


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """Settings of the benchmark.

    Attributes:
        server: networks and device of the measured servers.
        width: of the frames, pixels.
        height: of the frames, pixels.
        people: number of people in the scene.
        frames: number of frames per round.
        rounds: number of comparisons of server and pipeline in process, which alternate.
        memory_frames: number of frames sent on one stream while memory is watched; 0: none.
        memory_streams: number of streams opened and closed while memory is watched; 0: none.

    Raises:
        ValueError: a value is out of range.
    """

    server: ServerConfig
    width: int = 1280
    height: int = 720
    people: int = 4
    frames: int = 100
    rounds: int = 5
    memory_frames: int = 3000
    memory_streams: int = 200

    def __post_init__(self) -> None:
        for name, low, high in (
            ("width", 64, 4096),
            ("height", 64, 4096),
            ("people", 1, 40),
            ("frames", 20, 100_000),
            ("rounds", 1, 1000),
            ("memory_frames", 0, 10_000_000),
            ("memory_streams", 0, 1_000_000),
        ):
            check_range(name, getattr(self, name), low, high)

    @property
    def with_boxes(self) -> bool:
        """Whether the scene's true boxes are sent with the frames, because no detector finds the people."""
        return self.server.detector == "none"

    @property
    def clip(self) -> ClipOptions:
        """The frames to send."""
        return ClipOptions(size=(self.width, self.height), people=self.people)

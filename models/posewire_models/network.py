"""What posewire's networks tell about themselves."""

from __future__ import annotations

from typing import ClassVar, Protocol

from torch import nn

__all__ = ["Network", "SizedConfig"]


class SizedConfig(Protocol):
    """Settings of a network with an input of fixed size."""

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        ...


class Network(nn.Module):
    """A network that posewire states itself: from `(b, input_channels, *config.input_size)` to tensors."""

    config: SizedConfig
    """What it was made by."""
    input_name: ClassVar[str] = "images"
    """What the input is called in exports."""
    input_channels: ClassVar[int] = 3
    output_names: ClassVar[tuple[str, ...]]
    """What the outputs are called in exports, in their order."""

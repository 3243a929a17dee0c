"""The interface of posewire's networks: configuration, and names of inputs and outputs."""

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
    """A network that posewire implements itself: from `(b, *input_shape)` to tensors."""

    config: SizedConfig
    """Settings that it was built with."""
    input_name: ClassVar[str] = "images"
    """Name of the input in exports."""
    input_channels: ClassVar[int] = 3
    output_names: ClassVar[tuple[str, ...]]
    """Names of the outputs in exports, in order."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the input."""
        return self.input_channels, *self.config.input_size

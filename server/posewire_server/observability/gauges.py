"""Metrics whose values are read from the server when they are exported."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

import torch

from posewire_server.admission.places import Places
from posewire_server.inference.pipeline import Pipeline
from posewire_server.observability.metrics import Metrics

__all__ = ["describe_server"]


def describe_server(metrics: Metrics, pipeline: Pipeline, places: Places) -> None:
    """Register the gauges of a server that is about to listen."""
    names = pipeline.networks.names
    metrics.describe(version=metadata.version("posewire"), device=pipeline.networks.device, **vars(names))
    metrics.read_when_asked(
        "posewire_waiting_requests", "Requests waiting for a network.", "stage", lambda: pipeline.waiting.items()
    )
    metrics.read_when_asked("posewire_open_streams", "Open streams.", "", lambda: [("", places.streams)])
    metrics.read_when_asked(
        "posewire_pictures_in_work", "Single pictures in progress.", "", lambda: [("", places.pictures)]
    )
    device = pipeline.networks.device.partition(" ")[0]
    if device.startswith("cuda"):
        metrics.read_when_asked(
            "posewire_device_memory_bytes",
            "Memory of the accelerator: tensors (allocated), kept for them (reserved), in use by all (used), total.",
            "kind",
            lambda: _device_memory(device),
        )


def _device_memory(device: str) -> Iterable[tuple[str, float]]:
    free, total = torch.cuda.mem_get_info(device)
    return [
        ("allocated", torch.cuda.memory_allocated(device)),
        ("reserved", torch.cuda.memory_reserved(device)),
        ("used", total - free),
        ("total", total),
    ]

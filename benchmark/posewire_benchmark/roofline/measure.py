"""The roofline of a bundle: the share of the device's peak that its networks reach, and what limits them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from posewire_benchmark.machine import Machine, load_average, this_machine
from posewire_benchmark.random_bundle import random_network
from posewire_benchmark.roofline.networks import BundleNetwork, bundle_networks, torchvision_component
from posewire_benchmark.roofline.peaks import Peaks, Workload, measure_peaks
from posewire_benchmark.roofline.timing import median_s
from posewire_models.detectors.torchvision_models import compute_in
from posewire_models.inference import runner, select_device, select_runtime
from posewire_models.network_cost import NetworkCost, network_cost, network_cost_at
from posewire_models.precision import precision_name, select_precision
from posewire_server.ranges import check_range

__all__ = ["Roofline", "RooflineOptions", "RooflinePoint", "measure_roofline", "roofline_point"]

_PICTURE = (3, 720, 1280)


@dataclass(frozen=True, kw_only=True)
class RooflineOptions:
    """What is measured.

    Attributes:
        bundle: name or folder. Networks whose published weights are missing get random ones.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        runtimes: of `posewire_models.specs.RUNTIMES`; empty: torch, and the one that `auto` selects.
        precision: `auto`, or another precision of the networks.
        batches: batch sizes.
        threads: of a network on the CPU; 0: the libraries' choice.
        point_s: how long each network is measured at each batch size.
        peak_s: how long each peak is measured.
        workload: sizes for measuring the peaks; None: those for the device.

    Raises:
        ValueError: a value is out of range.
    """

    bundle: str = "nano"
    device: str = "auto"
    runtimes: tuple[str, ...] = ()
    precision: str = "auto"
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    threads: int = 0
    point_s: float = 0.5
    peak_s: float = 1.0
    workload: Workload | None = None

    def __post_init__(self) -> None:
        if not self.batches or not all(1 <= batch <= 32 for batch in self.batches):
            raise ValueError(f"batches are {self.batches}; give one or more sizes in 1..32")
        for name, low, high in (("threads", 0, 1024), ("point_s", 0.001, 600.0), ("peak_s", 0.001, 600.0)):
            check_range(name, getattr(self, name), low, high)


@dataclass(frozen=True, kw_only=True)
class RooflinePoint:
    """One network at one batch size.

    Attributes:
        network: stage and architecture.
        runtime: that ran it.
        precision: that it computed in.
        batch: number of items.
        ms: time of a batch, median.
        gmacs: 10^9 multiply-adds per second.
        gbs: 10^9 bytes per second, weights and activations.
        share_of_peak: of the device's measured multiply-adds per second.
        bound: `compute` or `memory`: which of the two would take longer at its peak.
        share_of_roof: of the speed that this bound allows. Above 1 if caches hold what is counted as moved.
    """

    network: str
    runtime: str
    precision: str
    batch: int
    ms: float
    gmacs: float
    gbs: float
    share_of_peak: float
    bound: str
    share_of_roof: float


@dataclass(frozen=True, kw_only=True)
class Roofline:
    """All points of a bundle.

    Attributes:
        machine: where they were measured.
        bundle: its name.
        peaks: of the device, by precision.
        costs: of each network, for one item.
        points: measured.
        remarks: what was left out or needs an explanation.
    """

    machine: Machine
    bundle: str
    peaks: dict[str, Peaks]
    costs: dict[str, NetworkCost]
    points: tuple[RooflinePoint, ...]
    remarks: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Lines for people."""
        lines = [self.machine.as_line(), f"bundle {self.bundle}"]
        lines += [
            f"peak in {precision}: matrix product {peak.matmul_gmacs:.0f}, convolution {peak.convolution_gmacs:.0f} "
            f"GMAC/s; copy {peak.copy_gbs:.1f} GB/s"
            for precision, peak in self.peaks.items()
        ]
        for name, cost in self.costs.items():
            sizes = f"{cost.parameters / 1e6:.2f} M parameters, {cost.activations / 1e6:.2f} M activations"
            lines += ["", f"{name}: {cost.multiply_adds / 1e9:.3f} GMAC, {sizes}"]
            lines.append("  runtime     precision  batch        ms  GMAC/s    GB/s   of peak  bound    of that")
            lines += [
                f"  {point.runtime:11} {point.precision:9} {point.batch:6d} {point.ms:9.3f} {point.gmacs:7.1f} "
                f"{point.gbs:7.1f} {point.share_of_peak:9.1%}  {point.bound:7} {point.share_of_roof:8.1%}"
                for point in self.points
                if point.network == name
            ]
        return "\n".join([*lines, *([""] if self.remarks else []), *self.remarks])


def measure_roofline(options: RooflineOptions) -> Roofline:
    """Measure a bundle's networks and the device's peaks.

    Raises:
        ValueError: unknown bundle, device, runtime or precision.
    """
    load = load_average()
    if options.threads:
        torch.set_num_threads(options.threads)
    device = select_device(options.device)
    networks, remarks = bundle_networks(options.bundle, device)
    points: list[RooflinePoint] = []
    costs: dict[str, NetworkCost] = {}
    peaks: dict[str, Peaks] = {}

    def add(name: str, run: _Running, batch: int, seconds: float) -> None:
        precision = precision_name(run.dtype)
        if precision not in peaks:
            peaks[precision] = measure_peaks(device, run.dtype, options.peak_s, options.workload)
        costs[name] = run.cost
        points.append(roofline_point(name, run.cost, run.runtime, run.dtype, batch, seconds, peaks[precision]))

    for network in networks:
        if not network.has_weights:
            remarks.append(f"{network.name}: its weights are not here, so they are random")
        for run in _runs(network, device, options):
            for batch, seconds in run.timed(options):
                add(network.name, run, batch, seconds)
    detector = torchvision_component(options.bundle)
    if detector is not None:
        name = f"detector {detector.network['name']}"
        remarks.append(f"{name}: random weights, one picture of 1280x720 at a time, as the service runs it")
        picture_run, seconds = _torchvision(random_network(detector, "detector"), device, options)
        add(name, picture_run, 1, seconds)
    return Roofline(
        machine=this_machine(_in_words(device), load),
        bundle=options.bundle,
        peaks=peaks,
        costs=costs,
        points=tuple(points),
        remarks=tuple(remarks),
    )


def roofline_point(
    network: str, cost: NetworkCost, runtime: str, dtype: torch.dtype, batch: int, seconds: float, peaks: Peaks
) -> RooflinePoint:
    """The point of a network that took `seconds` for a batch."""
    macs, moved = batch * cost.multiply_adds, cost.bytes_moved(batch, dtype.itemsize)
    compute_s, memory_s = macs / (peaks.gmacs * 1e9), moved / (peaks.copy_gbs * 1e9)
    return RooflinePoint(
        network=network,
        runtime=runtime,
        precision=precision_name(dtype),
        batch=batch,
        ms=seconds * 1e3,
        gmacs=macs / seconds / 1e9,
        gbs=moved / seconds / 1e9,
        share_of_peak=compute_s / seconds,
        bound="compute" if compute_s >= memory_s else "memory",
        share_of_roof=max(compute_s, memory_s) / seconds,
    )


@dataclass(frozen=True, eq=False)
class _Running:
    """A network that is ready to run."""

    call: Callable[[Tensor], Any]
    input_shape: tuple[int, int, int]
    cost: NetworkCost
    runtime: str
    dtype: torch.dtype
    device: torch.device

    @torch.inference_mode()
    def timed(self, options: RooflineOptions) -> Iterator[tuple[int, float]]:
        """Pairs of batch size and seconds."""
        for batch in options.batches:
            images = torch.randn(batch, *self.input_shape, device=self.device)
            images = images.contiguous(memory_format=torch.channels_last)
            yield batch, median_s(partial(self.call, images), self.device, options.point_s)


def _runs(network: BundleNetwork, device: torch.device, options: RooflineOptions) -> Iterator[_Running]:
    # Not taken from the weights: OpenVINO does not convert them.
    dtype = select_precision(options.precision, device)
    wanted = (select_runtime(name, device, options.precision) for name in options.runtimes or ("torch", "auto"))
    for runtime in dict.fromkeys(wanted):
        built = network.build()
        cost = network_cost(built, built.input_shape)
        call = runner(built, built.input_shape, device, runtime, options.precision)
        yield _Running(call, built.input_shape, cost, runtime, dtype, device)


@torch.inference_mode()
def _torchvision(network: nn.Module, device: torch.device, options: RooflineOptions) -> tuple[_Running, float]:
    prepared = network.eval().requires_grad_(False).to(device)
    pictures = [torch.rand(_PICTURE, device=device)]
    cost = network_cost_at(prepared, pictures)
    dtype = select_precision(options.precision, device)
    compute_in(prepared, dtype)
    running = _Running(prepared, _PICTURE, cost, "torch", dtype, device)
    return running, median_s(lambda: prepared(pictures), device, options.point_s)


def _in_words(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({torch.get_num_threads()} threads)"

"""Finds the fastest runtime for each network on this machine's processor: torch, ONNX Runtime or OpenVINO."""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from posewire_benchmark.machine import Machine, load_average, this_machine
from posewire_benchmark.roofline.networks import BundleNetwork, bundle_networks
from posewire_benchmark.roofline.timing import times_s
from posewire_models.inference import runner
from posewire_models.network_outputs import tensors_of
from posewire_models.onnx_export import export_onnx
from posewire_models.openvino_runtime import openvino_is_installed
from posewire_server.ranges import check_range

__all__ = ["RuntimeOptions", "RuntimeTable", "RuntimeTime", "compare_runtimes"]

# The threads of a runtime spin for a while before they sleep; the next runtime waits for that.
_REST_S = 0.2
_ERRORS_ONLY = 3

Run = Callable[[Tensor], Any]


@dataclass(frozen=True, kw_only=True)
class RuntimeOptions:
    """What is compared.

    Attributes:
        bundle: whose networks.
        batches: batch sizes.
        threads: of each runtime; 0: torch's choice, for all runtimes.
        rounds: number of rounds, in each of which every runtime has one turn.
        turn_s: how long one turn lasts.

    Raises:
        ValueError: a value is out of range.
    """

    bundle: str = "nano"
    batches: tuple[int, ...] = (1, 2, 4)
    threads: int = 0
    rounds: int = 5
    turn_s: float = 0.3

    def __post_init__(self) -> None:
        if not self.batches or not all(1 <= batch <= 1024 for batch in self.batches):
            raise ValueError(f"batches are {self.batches}; give one or more sizes in 1..1024")
        for name, low, high in (("threads", 0, 1024), ("rounds", 1, 1000), ("turn_s", 0.001, 60.0)):
            check_range(name, getattr(self, name), low, high)


@dataclass(frozen=True)
class RuntimeTime:
    """One network at one batch size.

    Attributes:
        network: stage and architecture.
        batch: number of items.
        ms: time of a batch by runtime: median of the rounds' medians.
        fastest: the fastest runtime.
        difference: largest difference from torch's outputs, as a share of torch's largest output (at least 1), by
            runtime.
    """

    network: str
    batch: int
    ms: dict[str, float]
    fastest: str
    difference: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class RuntimeTable:
    """The comparison.

    Attributes:
        machine: where it was measured.
        bundle: whose networks.
        threads: of each runtime.
        times: of each network at each batch size.
        remarks: what is missing.
    """

    machine: Machine
    bundle: str
    threads: int
    times: tuple[RuntimeTime, ...]
    remarks: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Lines for people."""
        lines = [self.machine.as_line(), f"bundle {self.bundle}, float32, {self.threads} threads; ms of a batch"]
        for row in self.times:
            figures = "  ".join(f"{runtime} {ms:8.2f}" for runtime, ms in row.ms.items())
            lines.append(f"  {row.network:28} batch {row.batch:3d}  {figures}   fastest: {row.fastest}")
        return "\n".join([*lines, *self.remarks])


def compare_runtimes(options: RuntimeOptions) -> RuntimeTable:
    """Run each network in each runtime, in turns, so that slow moments of the machine affect all of them.

    Raises:
        ValueError: unknown bundle.
    """
    load = load_average()
    if options.threads:
        torch.set_num_threads(options.threads)
    networks, remarks = bundle_networks(options.bundle, torch.device("cpu"))
    if not openvino_is_installed():
        remarks.append("OpenVINO is not installed: pip install 'posewire[openvino]'")
    with torch.inference_mode():
        times = [row for network in networks for row in _compare(network, options)]
    return RuntimeTable(
        machine=this_machine("cpu", load),
        bundle=options.bundle,
        threads=torch.get_num_threads(),
        times=tuple(times),
        remarks=tuple(remarks),
    )


def _compare(network: BundleNetwork, options: RuntimeOptions) -> list[RuntimeTime]:
    runs, shape = _contenders(network)
    rows = []
    for batch in options.batches:
        images = torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0))
        turns: dict[str, list[float]] = {runtime: [] for runtime in runs}
        for _ in range(options.rounds):
            for runtime, run in runs.items():
                time.sleep(_REST_S)
                spent = times_s(partial(run, images), torch.device("cpu"), options.turn_s)
                turns[runtime].append(statistics.median(spent) * 1e3)
        ms = {runtime: statistics.median(spent) for runtime, spent in turns.items()}
        rows.append(
            RuntimeTime(network.name, batch, ms, min(ms, key=lambda runtime: ms[runtime]), _differences(runs, images))
        )
    return rows


def _contenders(network: BundleNetwork) -> tuple[dict[str, Run], tuple[int, int, int]]:
    built, cpu = network.build(), torch.device("cpu")
    shape = built.input_shape
    runs = {"torch": runner(network.build(), shape, cpu, "torch"), "onnxruntime": _in_onnx_runtime(built)}
    if openvino_is_installed():
        runs["openvino"] = runner(network.build(), shape, cpu, "openvino")
    return runs, shape


def _in_onnx_runtime(network: Any) -> Run:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = _ERRORS_ONLY
    settings.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory(prefix="posewire-onnx-") as folder:
        path = Path(folder) / "network.onnx"
        export_onnx(network, path)
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: [torch.from_numpy(output) for output in session.run(None, {name: images.numpy()})]


def _differences(runs: dict[str, Run], images: Tensor) -> dict[str, float]:
    outputs = {runtime: [np.asarray(output) for output in tensors_of(run(images))] for runtime, run in runs.items()}
    scale = max(1.0, *(float(np.abs(output).max()) for output in outputs["torch"]))
    return {
        runtime: max(float(np.abs(one - other).max()) for one, other in zip(outputs["torch"], found, strict=True))
        / scale
        for runtime, found in outputs.items()
        if runtime != "torch"
    }

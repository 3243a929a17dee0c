"""The sections, and the function that runs them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["SECTIONS", "Bench", "run_sections"]

_TESTS = Path(__file__).resolve().parents[3] / "tests"
_MARK = "pytest.mark.gpu"
_TESTS_TIMEOUT_S = 240.0
_STUCK_S = 100
"""After this time in one test, it says where all its threads are."""
_SEEN_GPUS = "CUDA_VISIBLE_DEVICES"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Bench:
    """What is measured, and how thoroughly.

    Attributes:
        device: of the networks.
    """

    device: torch.device

    @property
    def is_gpu(self) -> bool:
        """Whether the device is a GPU; otherwise everything runs in reduced form."""
        return self.device.type == "cuda"

    @property
    def point_s(self) -> float:
        """Seconds for one measurement."""
        return 0.2 if self.is_gpu else 0.02


def run_sections(bench: Bench, names: Sequence[str], say: Say) -> dict[str, Any]:
    """Run sections one after another; an exception ends only its own section.

    Returns:
        Results by section; a failed one has `error`, possibly beside other results.
    """
    report: dict[str, Any] = {}
    for name in names:
        say(f"\n== {name}")
        start = time.perf_counter()
        try:
            figures = SECTIONS[name](bench, say)
        except Exception as error:  # noqa: BLE001  the other sections must still run
            traceback.print_exc()
            figures = {"error": f"{type(error).__name__}: {error}"}
        if "error" in figures:
            say(f"FAILED: {figures['error']}")
        report[name] = figures | {"seconds": round(time.perf_counter() - start, 1)}
        _tidy_up(bench)
    return report


def _tidy_up(bench: Bench) -> None:
    """Free what a section left on the device. This fails if the section broke the device."""
    if bench.is_gpu:
        try:
            torch.cuda.synchronize(bench.device)
            torch.cuda.empty_cache()
        except RuntimeError:
            traceback.print_exc()


def _machine(bench: Bench, say: Say) -> dict[str, Any]:
    facts: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    if bench.is_gpu:
        properties = torch.cuda.get_device_properties(bench.device)
        facts |= {
            "gpu": properties.name,
            "memory_gb": round(properties.total_memory / 1e9, 1),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
        }
    for name, value in facts.items():
        say(f"{name}: {value}")
    return facts


def _tests(bench: Bench, say: Say) -> dict[str, Any]:
    """Run all tests marked `gpu`, without the project's pytest options: plug-ins may be missing on GPU machines."""
    if not bench.is_gpu or not _TESTS.is_dir():
        say("skipped: " + ("they need a GPU" if _TESTS.is_dir() else "the tests are not installed"))
        return {"skipped": True}
    options = ["-m", "gpu", "-v", "-ra", "-p", "no:cacheprovider", "-o", "addopts=--import-mode=importlib"]
    options += ["-o", "filterwarnings=default", "--continue-on-collection-errors"]
    options += ["-o", f"faulthandler_timeout={_STUCK_S}"]
    # By file, since other tests need packages that may be missing on GPU machines. A file that cannot be imported does
    # not keep the others from running.
    chosen = [str(path) for path in sorted(_TESTS.rglob("test_*.py")) if _MARK in path.read_text(encoding="utf-8")]
    try:
        ran = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *chosen],
            capture_output=True,
            text=True,
            timeout=_TESTS_TIMEOUT_S,
            cwd=_TESTS.parent,
            env=_with_one_gpu(bench.device),
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        for said in (late.stdout, late.stderr):
            _say_last(said.decode(errors="replace") if isinstance(said, bytes) else said or "", say)
        raise RuntimeError(f"the tests have not ended after {_TESTS_TIMEOUT_S:.0f} s") from None
    lines = _say_last(ran.stdout, say)
    if ran.returncode:
        raise RuntimeError(f"pytest ended with {ran.returncode}: {lines[-1] if lines else ran.stderr[-500:]}")
    return {"summary": lines[-1]}


def _say_last(text: str, say: Say) -> list[str]:
    """Its last lines; returns all."""
    lines = text.splitlines()
    for line in lines[-60:]:
        say(line)
    return lines


def _with_one_gpu(device: torch.device) -> dict[str, str]:
    """An environment in which `device` is the first GPU, which is the one that tests use."""
    number, seen = device.index or 0, os.environ.get(_SEEN_GPUS)
    return {**os.environ, _SEEN_GPUS: seen.split(",")[number] if seen else str(number)}


def _agreement(bench: Bench, say: Say) -> dict[str, Any]:
    from posewire_benchmark.gpu_check.agreement import compare_with_cpu

    return compare_with_cpu(bench.device, say)


def _networks(bench: Bench, say: Say) -> dict[str, Any]:
    from posewire_benchmark.gpu_check.network_speed import measure_networks

    return measure_networks(bench.device, bench.point_s, say)


def _jpeg(bench: Bench, say: Say) -> dict[str, Any]:
    from posewire_benchmark.gpu_check.jpeg_speed import measure_jpegs

    return measure_jpegs(bench.device, bench.point_s, say)


def _video(bench: Bench, say: Say) -> dict[str, Any]:
    from posewire_server.config import ServerConfig
    from posewire_server.decoding.choice import choose_decoding

    if not bench.is_gpu:
        say("skipped: it needs a GPU")
        return {"skipped": True}
    chosen = choose_decoding(ServerConfig(jpeg_decoder="cpu"), bench.device)
    say(f"video is decoded on the {chosen.in_words()['video_on']}")
    return dict(chosen.in_words())


def _streams(bench: Bench, say: Say) -> dict[str, Any]:
    from posewire_benchmark.gpu_check.stream_speed import measure_streams

    return measure_streams(bench.device, say)


SECTIONS: dict[str, Callable[[Bench, Say], dict[str, Any]]] = {
    "machine": _machine,
    "agreement": _agreement,
    "jpeg": _jpeg,
    "video": _video,
    "streams": _streams,
    "networks": _networks,
    "tests": _tests,
}
"""In the order in which they run: the most important first."""

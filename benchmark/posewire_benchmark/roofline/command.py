"""`posewire bench roofline`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from posewire_benchmark.command_line import (
    JsonFlag,
    Report,
    check_json,
    failures_in_one_line,
    mistakes_of_usage,
    show,
)

__all__ = ["roofline"]


def roofline(
    bundle: Annotated[str, typer.Option(help="Name or folder of the bundle of networks.")] = "nano",
    device: Annotated[str, typer.Option(help="Device of the networks: auto, cpu, cuda or cuda:N.")] = "auto",
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Runtime to measure; repeatable (default: torch, and the device's usual one)."
        ),
    ] = None,
    precision: Annotated[str, typer.Option(metavar="NAME", help="Precision of the networks.")] = "auto",
    batches: Annotated[str | None, typer.Option(metavar="N,N,...", help="Batch sizes.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of each network on the CPU (0: chosen by the libraries).")] = 0,
    runtimes: Annotated[
        bool, typer.Option("--runtimes", help="Compare torch, ONNX Runtime and OpenVINO on the CPU instead.")
    ] = False,
    json_file: JsonFlag = None,
) -> None:
    """Compare the networks with the machine's measured peak: multiply-adds, bytes, time, share of the peak."""
    with failures_in_one_line():
        check_json(json_file)
        from posewire_benchmark.roofline.measure import RooflineOptions, measure_roofline
        from posewire_benchmark.roofline.runtimes import RuntimeOptions, compare_runtimes

        report: Callable[[], Report]
        with mistakes_of_usage():
            sizes = None if batches is None else _sizes(batches)
            if runtimes:
                _check_compared(
                    {"device": device != "auto", "runtime": bool(runtime), "precision": precision != "auto"}
                )
                report = partial(
                    compare_runtimes, RuntimeOptions(bundle=bundle, threads=threads, batches=sizes or (1, 2, 4))
                )
            else:
                options = RooflineOptions(
                    bundle=bundle,
                    device=device,
                    runtimes=tuple(runtime or ()),
                    precision=precision,
                    threads=threads,
                    batches=sizes or RooflineOptions().batches,
                )
                report = partial(measure_roofline, options)
        show(report(), json_file)


def _sizes(batches: str) -> tuple[int, ...]:
    try:
        return tuple(map(int, batches.split(",")))
    except ValueError:
        raise ValueError(f"{batches!r} are not batch sizes; give numbers separated by commas, e.g. 1,4,16") from None


def _check_compared(given: dict[str, bool]) -> None:
    """Reject flags that would have no effect."""
    without_effect = [f"--{name}" for name, is_given in given.items() if is_given]
    if without_effect:
        raise ValueError(
            f"--runtimes compares all of them on the CPU, in float32: {', '.join(without_effect)} would have no effect"
        )

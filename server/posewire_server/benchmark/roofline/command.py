"""`posewire bench roofline`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated

import typer

from posewire_server.benchmark.command_line import (
    JsonFlag,
    Report,
    check_json,
    failures_in_one_line,
    mistakes_of_usage,
    show,
)

__all__ = ["roofline"]


def roofline(
    bundle: Annotated[str, typer.Option(help="Bundle of networks: a name, or a folder.")] = "nano",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    runtime: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="May be given again; else torch and the usual one.")
    ] = None,
    precision: Annotated[str, typer.Option(metavar="NAME", help="Of the networks.")] = "auto",
    batches: Annotated[str | None, typer.Option(metavar="N,N,...", help="Batch sizes.")] = None,
    threads: Annotated[int, typer.Option(help="Of a network on the CPU; 0: the libraries' choice.")] = 0,
    runtimes: Annotated[
        bool, typer.Option("--runtimes", help="Instead, compare torch, ONNX Runtime and OpenVINO on the CPU.")
    ] = False,
    json_file: JsonFlag = None,
) -> None:
    """Hold the networks against what the machine can do: multiply-adds, bytes, time, share of the measured peak."""
    with failures_in_one_line():
        check_json(json_file)
        from posewire_server.benchmark.roofline.measure import RooflineOptions, measure_roofline
        from posewire_server.benchmark.roofline.runtimes import RuntimeOptions, compare_runtimes

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
        raise ValueError(f"{batches!r} are no batch sizes; give numbers with commas between, e.g. 1,4,16") from None


def _check_compared(given: dict[str, bool]) -> None:
    """Refuse flags that would have no effect."""
    without_effect = [f"--{name}" for name, is_given in given.items() if is_given]
    if without_effect:
        raise ValueError(
            f"--runtimes compares all of them on the CPU, in float32: {', '.join(without_effect)} would have no effect"
        )

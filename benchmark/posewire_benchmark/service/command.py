"""`posewire bench`, or `posewire bench service`."""

from __future__ import annotations

from typing import Annotated

import typer

from posewire.cli.options import parse_size
from posewire_benchmark.command_line import JsonFlag, check_json, failures_in_one_line, mistakes_of_usage, show
from posewire_server.config import ServerConfig

__all__ = ["service"]


def service(
    bundle: Annotated[str, typer.Option(help="Name or folder of the bundle of networks.")] = "nano",
    detector: Annotated[
        str | None,
        typer.Option(help="Detector to run (default: none, the ground-truth boxes are sent).", metavar="SPEC"),
    ] = None,
    flow: Annotated[str, typer.Option(help="Optical flow: auto, bundle, dis[:PRESET], ...", metavar="SPEC")] = "auto",
    device: Annotated[str, typer.Option(help="Device of the networks: auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of each network on the CPU (0: chosen by the libraries).")] = 0,
    size: Annotated[str, typer.Option(help="Frame size.", metavar="WIDTHxHEIGHT")] = "1280x720",
    people: Annotated[int, typer.Option(help="Number of people in the synthetic scene.")] = 4,
    frames: Annotated[int, typer.Option(help="Number of frames in a round.")] = 100,
    rounds: Annotated[int, typer.Option(help="Number of comparisons with the pipeline run in process.")] = 5,
    memory_frames: Annotated[
        int, typer.Option(help="Number of frames while memory is watched (0: skip this part).")
    ] = 3000,
    memory_streams: Annotated[
        int, typer.Option(help="Number of streams opened and closed while memory is watched.")
    ] = 200,
    json_file: JsonFlag = None,
) -> None:
    """Measure what the service adds to its networks: one stream, one frame at a time (the default command)."""
    with failures_in_one_line():
        check_json(json_file)
        from posewire_benchmark.service.options import BenchmarkOptions
        from posewire_benchmark.service.report import run_benchmark

        width, height = parse_size(size)
        with mistakes_of_usage():
            server = ServerConfig(
                bundle=bundle, detector=detector or "none", flow=flow, device=device, threads=threads, port=0
            )
            options = BenchmarkOptions(
                server=server,
                width=width,
                height=height,
                people=people,
                frames=frames,
                rounds=rounds,
                memory_frames=memory_frames,
                memory_streams=memory_streams,
            )
        show(run_benchmark(options), json_file)

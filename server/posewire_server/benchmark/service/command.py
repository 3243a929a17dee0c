"""`posewire bench`, or `posewire bench service`."""

from __future__ import annotations

from typing import Annotated

import typer

from posewire.cli.options import parse_size
from posewire_server.benchmark.command_line import JsonFlag, check_json, failures_in_one_line, mistakes_of_usage, show
from posewire_server.config import ServerConfig

__all__ = ["service"]


def service(
    bundle: Annotated[str, typer.Option(help="Bundle of networks: a name, or a folder.")] = "nano",
    detector: Annotated[
        str | None,
        typer.Option(help="Let this detector find the people; else the true boxes are given.", metavar="SPEC"),
    ] = None,
    flow: Annotated[str, typer.Option(help="auto, bundle, dis[:PRESET] ...", metavar="SPEC")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of a network on the CPU; 0: the libraries' choice.")] = 0,
    size: Annotated[str, typer.Option(help="Of the frames.", metavar="WIDTHxHEIGHT")] = "1280x720",
    people: Annotated[int, typer.Option(help="People in the drawn scene.")] = 4,
    frames: Annotated[int, typer.Option(help="Of one round.")] = 100,
    rounds: Annotated[int, typer.Option(help="Of the comparison with the pipeline in process.")] = 5,
    memory_frames: Annotated[int, typer.Option(help="Frames while memory is watched; 0: leave that out.")] = 3000,
    memory_streams: Annotated[int, typer.Option(help="Streams opened and closed while memory is watched.")] = 200,
    json_file: JsonFlag = None,
) -> None:
    """Measure what the service adds to its networks: one stream, one frame at a time. The default."""
    with failures_in_one_line():
        check_json(json_file)
        from posewire_server.benchmark.service.options import BenchmarkOptions
        from posewire_server.benchmark.service.report import run_benchmark

        width, height = parse_size(size)
        with mistakes_of_usage():
            server = ServerConfig(
                bundle=bundle, detector=detector or "none", flow=flow, device=device, threads=threads, port=0
            )
            options = BenchmarkOptions(
                server=server,
                use_detector=detector not in (None, "none"),
                width=width,
                height=height,
                people=people,
                frames=frames,
                rounds=rounds,
                memory_frames=memory_frames,
                memory_streams=memory_streams,
            )
        show(run_benchmark(options), json_file)

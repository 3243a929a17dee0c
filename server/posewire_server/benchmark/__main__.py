"""`python -m posewire_server.benchmark`: the same program as `posewire bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from posewire_server.benchmark.options import BenchmarkOptions
from posewire_server.config import ServerConfig

__all__ = ["app", "bench"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    bundle: Annotated[str, typer.Option(help="Bundle of networks: a name, or a folder.")] = "nano",
    detector: Annotated[
        str | None,
        typer.Option(help="Let this detector find the people; else the true boxes are given.", metavar="SPEC"),
    ] = None,
    flow: Annotated[str, typer.Option(help="auto, bundle, dis[:PRESET] ...", metavar="SPEC")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of a network on the CPU; 0: the libraries' choice.")] = 0,
    size: Annotated[str, typer.Option(help="Of the frames.", metavar="WIDTHxHEIGHT")] = "1280x720",
    people: Annotated[int, typer.Option(help="In the scene.")] = 4,
    frames: Annotated[int, typer.Option(help="Of one round.")] = 100,
    rounds: Annotated[int, typer.Option(help="Of the comparison with the pipeline in process.")] = 5,
    memory_frames: Annotated[int, typer.Option(help="Frames while memory is watched; 0: leave that out.")] = 3000,
    memory_streams: Annotated[int, typer.Option(help="Streams opened and closed while memory is watched.")] = 200,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures there as JSON; - is standard output.")
    ] = None,
) -> None:
    """Measure what the service costs on this machine."""
    try:
        from posewire_server.benchmark.report import run_benchmark

        width, _, height = size.partition("x")
        server = ServerConfig(
            bundle=bundle, detector=detector or "none", flow=flow, device=device, threads=threads, port=0
        )
        report = run_benchmark(
            BenchmarkOptions(
                server=server,
                use_detector=detector not in (None, "none"),
                width=int(width),
                height=int(height),
                people=people,
                frames=frames,
                rounds=rounds,
                memory_frames=memory_frames,
                memory_streams=memory_streams,
            )
        )
    except ModuleNotFoundError as error:
        print(f"posewire: this needs the package {error.name}: pip install 'posewire[server]'", file=sys.stderr)
        raise typer.Exit(1) from None
    except (ValueError, OSError, RuntimeError) as error:
        print(f"posewire: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if json_file is None or str(json_file) != "-":
        print(report.as_text())
    if json_file is not None:
        text = json.dumps(report.as_json(), indent=2)
        if str(json_file) == "-":
            print(text)
        else:
            json_file.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    app(prog_name="python -m posewire_server.benchmark")

"""`posewire bench load`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from posewire.cli.access import access_given, with_access_flags
from posewire.cli.options import parse_size
from posewire_server.benchmark.command_line import JsonFlag, check_json, failures_in_one_line, show
from posewire_server.benchmark.footage import FootageCodec
from posewire_server.benchmark.load.flags import check_flags
from posewire_server.benchmark.load.hostile_kind import HostileKind
from posewire_server.config import ServerConfig
from posewire_server.inbox import DropPolicy

__all__ = ["load"]

_SERVER, _LOAD, _QUESTION = "Server", "Load", "Question"


@with_access_flags
def load(
    server: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="A running server; else a private one.", rich_help_panel=_SERVER),
    ] = None,
    metrics_url: Annotated[
        str, typer.Option(metavar="URL", help="Prometheus metrics of that server.", rich_help_panel=_SERVER)
    ] = "",
    bundle: Annotated[
        str, typer.Option(help="Networks of the private server: a name, or a folder.", rich_help_panel=_SERVER)
    ] = "nano",
    random_weights: Annotated[
        bool,
        typer.Option(
            "--random-weights", help="The bundle's architectures with random weights.", rich_help_panel=_SERVER
        ),
    ] = False,
    detector: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help="Let the detector run: auto, bundle, onnx:PATH ... Else boxes come with the frames.",
            rich_help_panel=_SERVER,
        ),
    ] = None,
    inject: Annotated[
        bool,
        typer.Option("--inject", help="Replace what the detector finds by --people people.", rich_help_panel=_SERVER),
    ] = False,
    flow: Annotated[
        str, typer.Option(metavar="SPEC", help="auto, bundle, dis[:PRESET] ...", rich_help_panel=_SERVER)
    ] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_SERVER)] = "auto",
    threads: Annotated[
        int, typer.Option(help="Of a network on the CPU; 0: the libraries' choice.", rich_help_panel=_SERVER)
    ] = 0,
    streams: Annotated[int, typer.Option("--streams", "-n", help="Cameras.", rich_help_panel=_LOAD)] = 1,
    fps: Annotated[float, typer.Option(help="Frames a second of each camera.", rich_help_panel=_LOAD)] = 30.0,
    seconds: Annotated[
        float | None,
        typer.Option(help="Measured.", show_default="10, of an overload 30", rich_help_panel=_LOAD),
    ] = None,
    warm_up: Annotated[
        float, typer.Option(metavar="SECONDS", help="Before that; not measured.", rich_help_panel=_LOAD)
    ] = 3.0,
    source: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A real clip, may be given again; else a drawn scene.", rich_help_panel=_LOAD
        ),
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Of the frames.", rich_help_panel=_LOAD)
    ] = None,
    people: Annotated[int, typer.Option(help="In the scene, or in the boxes.", rich_help_panel=_LOAD)] = 4,
    codec: Annotated[FootageCodec, typer.Option(help="Of the frames.", rich_help_panel=_LOAD)] = FootageCodec.JPEG,
    drop_policy: Annotated[DropPolicy, typer.Option(help="Of the streams.", rich_help_panel=_LOAD)] = DropPolicy.LATEST,
    detect_every: Annotated[
        int | None, typer.Option(metavar="N", help="The detector runs on every N-th frame.", rich_help_panel=_LOAD)
    ] = None,
    max_detect_every: Annotated[
        int | None, typer.Option(metavar="N", help="How far the server may stretch that.", rich_help_panel=_LOAD)
    ] = None,
    generators: Annotated[
        int, typer.Option(help="Processes that send; 0: as many as needed.", rich_help_panel=_LOAD)
    ] = 0,
    max_lateness_ms: Annotated[
        float, typer.Option(help="Of a generator whose figures count (p99).", rich_help_panel=_LOAD)
    ] = 10.0,
    find_max: Annotated[
        bool,
        typer.Option("--find-max", help="Find the most cameras that meet the bound.", rich_help_panel=_QUESTION),
    ] = False,
    latency_bound_ms: Annotated[
        float | None, typer.Option(help="With --find-max.", show_default="80", rich_help_panel=_QUESTION)
    ] = None,
    percentile: Annotated[
        int | None,
        typer.Option(help="With --find-max: 50, 95, 99 or 100.", show_default="95", rich_help_panel=_QUESTION),
    ] = None,
    most_lost: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            help="With --find-max: dropped or failed.",
            show_default="1",
            rich_help_panel=_QUESTION,
        ),
    ] = None,
    hostile: Annotated[
        HostileKind | None,
        typer.Option(help="What such a client does to the others.", rich_help_panel=_QUESTION),
    ] = None,
    scaling: Annotated[
        bool,
        typer.Option(
            "--scaling", help="Whether the --streams together are served as quickly as one.", rich_help_panel=_QUESTION
        ),
    ] = False,
    rounds: Annotated[
        int | None,
        typer.Option(
            help="With --hostile and --scaling: of both measurements.", show_default="3", rich_help_panel=_QUESTION
        ),
    ] = None,
    overload: Annotated[
        bool,
        typer.Option("--overload", help="What twice the load does that can be carried.", rich_help_panel=_QUESTION),
    ] = False,
    json_file: JsonFlag = None,
) -> None:
    """Load a server with cameras that keep their pace whatever it does."""
    finding = None if detector == "none" else detector
    with failures_in_one_line():
        check_json(json_file)
        check_flags(
            {
                "server": server,
                "metrics_url": metrics_url,
                "bundle": bundle,
                "random_weights": random_weights,
                "detector": finding,
                "inject": inject,
                "flow": flow,
                "device": device,
                "threads": threads,
                "detect_every": detect_every,
                "max_detect_every": max_detect_every,
                "find_max": find_max,
                "latency_bound_ms": latency_bound_ms,
                "percentile": percentile,
                "most_lost": most_lost,
                "hostile": hostile,
                "scaling": scaling,
                "rounds": rounds,
                "overload": overload,
            }
        )
        from posewire_server.benchmark.clips import ClipOptions
        from posewire_server.benchmark.load.capacity import CapacityOptions, find_capacity
        from posewire_server.benchmark.load.interference import InterferenceOptions, measure_interference
        from posewire_server.benchmark.load.options import BoxesFrom, LoadOptions
        from posewire_server.benchmark.load.overload import OverloadOptions, measure_overload
        from posewire_server.benchmark.load.rig import measure_load
        from posewire_server.benchmark.load.scaling import ScalingOptions, measure_scaling

        boxes = BoxesFrom.CALLER if finding is None else BoxesFrom.DETECTOR
        own = ServerConfig(bundle=bundle, detector=finding or "none", flow=flow, device=device, threads=threads)
        options = LoadOptions(
            server=access_given(server) if server is not None else own,
            clip=ClipOptions(
                sources=tuple(source or ()),
                size=None if size is None else parse_size(size),
                people=people,
                codec=codec,
            ),
            streams=streams,
            fps=fps,
            warm_up_s=warm_up,
            boxes=BoxesFrom.INJECTED if inject else boxes,
            drop_policy=drop_policy,
            detect_every=detect_every,
            max_detect_every=max_detect_every or 0,
            generators=generators,
            max_lateness_ms=max_lateness_ms,
            metrics_url=metrics_url,
            random_weights=random_weights,
            **_given(seconds=seconds),
        )
        if find_max:
            share = None if most_lost is None else most_lost / 100
            bound = _given(latency_bound_ms=latency_bound_ms, percentile=percentile, most_lost_share=share)
            show(find_capacity(CapacityOptions(load=options, **bound)), json_file)
        elif hostile is not None:
            guest = InterferenceOptions(load=options, kind=hostile, **_given(rounds=rounds))
            show(measure_interference(guest), json_file)
        elif scaling:
            show(measure_scaling(ScalingOptions(load=options, **_given(rounds=rounds))), json_file)
        elif overload:
            show(measure_overload(OverloadOptions(load=options, **_given(seconds=seconds))), json_file)
        else:
            show(measure_load(options), json_file)


def _given(**values: Any) -> dict[str, Any]:
    """Those that are not None: for the others, the options have their own."""
    return {name: value for name, value in values.items() if value is not None}

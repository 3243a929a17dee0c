"""The flags of `posewire bench load`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from posewire_server.benchmark.footage import FootageCodec
from posewire_server.benchmark.load.hostile_kind import HostileKind
from posewire_server.streams.inbox import DropPolicy

__all__ = [
    "BundleFlag",
    "CodecFlag",
    "DetectEveryFlag",
    "DetectorFlag",
    "DeviceFlag",
    "DropPolicyFlag",
    "FindMaxFlag",
    "FlowFlag",
    "FpsFlag",
    "GeneratorsFlag",
    "HostileFlag",
    "InjectFlag",
    "LatencyBoundMsFlag",
    "MaxDetectEveryFlag",
    "MaxLatenessMsFlag",
    "MetricsUrlFlag",
    "MostLostFlag",
    "OverloadFlag",
    "PeopleFlag",
    "PercentileFlag",
    "RandomWeightsFlag",
    "RoundsFlag",
    "ScalingFlag",
    "SecondsFlag",
    "ServerFlag",
    "SizeFlag",
    "SourceFlag",
    "StreamsFlag",
    "ThreadsFlag",
    "WarmUpFlag",
]

_SERVER, _LOAD, _QUESTION = "Server", "Load", "Question"

ServerFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="A running server; else a private one.", rich_help_panel=_SERVER),
]
MetricsUrlFlag: TypeAlias = Annotated[
    str, typer.Option(metavar="URL", help="Prometheus metrics of that server.", rich_help_panel=_SERVER)
]
BundleFlag: TypeAlias = Annotated[
    str, typer.Option(help="Networks of the private server: a name, or a folder.", rich_help_panel=_SERVER)
]
RandomWeightsFlag: TypeAlias = Annotated[
    bool,
    typer.Option("--random-weights", help="The bundle's architectures with random weights.", rich_help_panel=_SERVER),
]
DetectorFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help="Let the detector run: auto, bundle, onnx:PATH ... Else boxes come with the frames.",
        rich_help_panel=_SERVER,
    ),
]
InjectFlag: TypeAlias = Annotated[
    bool,
    typer.Option("--inject", help="Replace what the detector finds by --people people.", rich_help_panel=_SERVER),
]
FlowFlag: TypeAlias = Annotated[
    str, typer.Option(metavar="SPEC", help="auto, bundle, dis[:PRESET] ...", rich_help_panel=_SERVER)
]
DeviceFlag: TypeAlias = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.", rich_help_panel=_SERVER)]
ThreadsFlag: TypeAlias = Annotated[
    int, typer.Option(help="Of a network on the CPU; 0: the libraries' choice.", rich_help_panel=_SERVER)
]
StreamsFlag: TypeAlias = Annotated[int, typer.Option("--streams", "-n", help="Cameras.", rich_help_panel=_LOAD)]
FpsFlag: TypeAlias = Annotated[float, typer.Option(help="Frames a second of each camera.", rich_help_panel=_LOAD)]
SecondsFlag: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Measured.", show_default="10, of an overload 30", rich_help_panel=_LOAD),
]
WarmUpFlag: TypeAlias = Annotated[
    float, typer.Option(metavar="SECONDS", help="Before that; not measured.", rich_help_panel=_LOAD)
]
SourceFlag: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="A real clip, may be given again; else a drawn scene.", rich_help_panel=_LOAD),
]
SizeFlag: TypeAlias = Annotated[
    str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Of the frames.", rich_help_panel=_LOAD)
]
PeopleFlag: TypeAlias = Annotated[int, typer.Option(help="In the scene, or in the boxes.", rich_help_panel=_LOAD)]
CodecFlag: TypeAlias = Annotated[FootageCodec, typer.Option(help="Of the frames.", rich_help_panel=_LOAD)]
DropPolicyFlag: TypeAlias = Annotated[DropPolicy, typer.Option(help="Of the streams.", rich_help_panel=_LOAD)]
DetectEveryFlag: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", help="The detector runs on every N-th frame.", rich_help_panel=_LOAD)
]
MaxDetectEveryFlag: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", help="How far the server may stretch that.", rich_help_panel=_LOAD)
]
GeneratorsFlag: TypeAlias = Annotated[
    int, typer.Option(help="Processes that send; 0: as many as needed.", rich_help_panel=_LOAD)
]
MaxLatenessMsFlag: TypeAlias = Annotated[
    float, typer.Option(help="Of a generator whose figures count (p99).", rich_help_panel=_LOAD)
]
FindMaxFlag: TypeAlias = Annotated[
    bool,
    typer.Option("--find-max", help="Find the most cameras that meet the bound.", rich_help_panel=_QUESTION),
]
LatencyBoundMsFlag: TypeAlias = Annotated[
    float | None, typer.Option(help="With --find-max.", show_default="80", rich_help_panel=_QUESTION)
]
PercentileFlag: TypeAlias = Annotated[
    int | None,
    typer.Option(help="With --find-max: 50, 95, 99 or 100.", show_default="95", rich_help_panel=_QUESTION),
]
MostLostFlag: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="PERCENT",
        help="With --find-max: dropped or failed.",
        show_default="1",
        rich_help_panel=_QUESTION,
    ),
]
HostileFlag: TypeAlias = Annotated[
    HostileKind | None,
    typer.Option(help="What such a client does to the others.", rich_help_panel=_QUESTION),
]
ScalingFlag: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--scaling", help="Whether the --streams together are served as quickly as one.", rich_help_panel=_QUESTION
    ),
]
RoundsFlag: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="With --hostile and --scaling: of both measurements.", show_default="3", rich_help_panel=_QUESTION
    ),
]
OverloadFlag: TypeAlias = Annotated[
    bool,
    typer.Option("--overload", help="What twice the load does that can be carried.", rich_help_panel=_QUESTION),
]

"""The flags of `posewire bench load`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from posewire_benchmark.footage import FootageCodec
from posewire_benchmark.load.hostile_kind import HostileKind
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
    "ServersFlag",
    "SizeFlag",
    "SourceFlag",
    "StreamsFlag",
    "ThreadsFlag",
    "WarmUpFlag",
    "WithoutNetworksFlag",
]

_SERVER, _LOAD, _QUESTION = "Server", "Load", "Question"

ServerFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Address of a running server (default: start a private server).",
        rich_help_panel=_SERVER,
    ),
]
MetricsUrlFlag: TypeAlias = Annotated[
    str, typer.Option(metavar="URL", help="URL of the running server's Prometheus metrics.", rich_help_panel=_SERVER)
]
BundleFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Name or folder of the private server's bundle of networks.", show_default="nano", rich_help_panel=_SERVER
    ),
]
RandomWeightsFlag: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--random-weights", help="Use the bundle's architectures with random weights.", rich_help_panel=_SERVER
    ),
]
WithoutNetworksFlag: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--without-networks",
        help="Networks that take no time: what the private server itself can carry.",
        rich_help_panel=_SERVER,
    ),
]
ServersFlag: TypeAlias = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Number of private servers, which share the device; streams are dealt to them in turn.",
        show_default="1",
        rich_help_panel=_SERVER,
    ),
]
DetectorFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help="Detector to run: auto, bundle, onnx:PATH, ... (default: none, boxes are sent with the frames).",
        rich_help_panel=_SERVER,
    ),
]
InjectFlag: TypeAlias = Annotated[
    bool,
    typer.Option("--inject", help="Replace the detector's results by --people people.", rich_help_panel=_SERVER),
]
FlowFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        metavar="SPEC",
        help="Optical flow: auto, bundle, dis[:PRESET], ...",
        show_default="auto",
        rich_help_panel=_SERVER,
    ),
]
DeviceFlag: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Device of the networks: auto, cpu, cuda or cuda:N.", show_default="auto", rich_help_panel=_SERVER
    ),
]
ThreadsFlag: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Threads of each network on the CPU (0: chosen by the libraries).",
        show_default="0",
        rich_help_panel=_SERVER,
    ),
]
StreamsFlag: TypeAlias = Annotated[
    int, typer.Option("--streams", "-n", help="Number of cameras.", rich_help_panel=_LOAD)
]
FpsFlag: TypeAlias = Annotated[float, typer.Option(help="Frames per second of each camera.", rich_help_panel=_LOAD)]
SecondsFlag: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Seconds to measure.", show_default="10; 30 with --overload", rich_help_panel=_LOAD),
]
WarmUpFlag: TypeAlias = Annotated[
    float, typer.Option(metavar="SECONDS", help="Seconds of load before the measurement.", rich_help_panel=_LOAD)
]
SourceFlag: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(metavar="FILE", help="Video to send; repeatable (default: a synthetic scene).", rich_help_panel=_LOAD),
]
SizeFlag: TypeAlias = Annotated[
    str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Frame size.", rich_help_panel=_LOAD)
]
PeopleFlag: TypeAlias = Annotated[
    int, typer.Option(help="Number of people in the scene, or of boxes sent with a video.", rich_help_panel=_LOAD)
]
CodecFlag: TypeAlias = Annotated[FootageCodec, typer.Option(help="Codec of the frames.", rich_help_panel=_LOAD)]
DropPolicyFlag: TypeAlias = Annotated[
    DropPolicy, typer.Option(help="Drop policy of the streams.", rich_help_panel=_LOAD)
]
DetectEveryFlag: TypeAlias = Annotated[
    int | None, typer.Option(metavar="N", help="Run the detector on every N-th frame only.", rich_help_panel=_LOAD)
]
MaxDetectEveryFlag: TypeAlias = Annotated[
    int | None,
    typer.Option(metavar="N", help="Let the server raise --detect-every up to N under load.", rich_help_panel=_LOAD),
]
GeneratorsFlag: TypeAlias = Annotated[
    int, typer.Option(help="Number of processes that send frames (0: as many as needed).", rich_help_panel=_LOAD)
]
MaxLatenessMsFlag: TypeAlias = Annotated[
    float,
    typer.Option(
        help="Maximum p99 lateness of a sending process in ms; later ones invalidate the run.", rich_help_panel=_LOAD
    ),
]
FindMaxFlag: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--find-max", help="Find the largest number of cameras within the latency bound.", rich_help_panel=_QUESTION
    ),
]
LatencyBoundMsFlag: TypeAlias = Annotated[
    float | None,
    typer.Option(help="With --find-max: the latency bound in ms.", show_default="80", rich_help_panel=_QUESTION),
]
PercentileFlag: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="With --find-max: percentile that must meet the bound (50, 95, 99 or 100).",
        show_default="95",
        rich_help_panel=_QUESTION,
    ),
]
MostLostFlag: TypeAlias = Annotated[
    float | None,
    typer.Option(
        metavar="PERCENT",
        help="With --find-max: maximum share of dropped and failed frames.",
        show_default="1",
        rich_help_panel=_QUESTION,
    ),
]
HostileFlag: TypeAlias = Annotated[
    HostileKind | None,
    typer.Option(help="Measure the effect of a hostile client on the others.", rich_help_panel=_QUESTION),
]
ScalingFlag: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--scaling", help="Compare the total speed of all --streams with that of one.", rich_help_panel=_QUESTION
    ),
]
RoundsFlag: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="With --hostile or --scaling: number of repetitions of both measurements.",
        show_default="3",
        rich_help_panel=_QUESTION,
    ),
]
OverloadFlag: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--overload", help="Measure the effect of twice the load that the server can carry.", rich_help_panel=_QUESTION
    ),
]

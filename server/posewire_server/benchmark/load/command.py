"""`posewire bench load`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from posewire.cli.access import access_given, with_access_flags
from posewire.cli.options import parse_size
from posewire_server.benchmark.command_line import JsonFlag, Report, check_json, failures_in_one_line, show
from posewire_server.benchmark.footage import FootageCodec
from posewire_server.benchmark.load import flags
from posewire_server.benchmark.load.flag_rules import check_flags
from posewire_server.config import ServerConfig
from posewire_server.streams.inbox import DropPolicy

if TYPE_CHECKING:
    from posewire_server.benchmark.load.options import LoadOptions

__all__ = ["load"]


@with_access_flags
def load(
    server: flags.ServerFlag = None,
    metrics_url: flags.MetricsUrlFlag = "",
    bundle: flags.BundleFlag = "nano",
    random_weights: flags.RandomWeightsFlag = False,
    detector: flags.DetectorFlag = None,
    inject: flags.InjectFlag = False,
    flow: flags.FlowFlag = "auto",
    device: flags.DeviceFlag = "auto",
    threads: flags.ThreadsFlag = 0,
    streams: flags.StreamsFlag = 1,
    fps: flags.FpsFlag = 30.0,
    seconds: flags.SecondsFlag = None,
    warm_up: flags.WarmUpFlag = 3.0,
    source: flags.SourceFlag = None,
    size: flags.SizeFlag = None,
    people: flags.PeopleFlag = 4,
    codec: flags.CodecFlag = FootageCodec.JPEG,
    drop_policy: flags.DropPolicyFlag = DropPolicy.LATEST,
    detect_every: flags.DetectEveryFlag = None,
    max_detect_every: flags.MaxDetectEveryFlag = None,
    generators: flags.GeneratorsFlag = 0,
    max_lateness_ms: flags.MaxLatenessMsFlag = 10.0,
    find_max: flags.FindMaxFlag = False,
    latency_bound_ms: flags.LatencyBoundMsFlag = None,
    percentile: flags.PercentileFlag = None,
    most_lost: flags.MostLostFlag = None,
    hostile: flags.HostileFlag = None,
    scaling: flags.ScalingFlag = False,
    rounds: flags.RoundsFlag = None,
    overload: flags.OverloadFlag = False,
    json_file: JsonFlag = None,
) -> None:
    """Load a server with simulated cameras, which send at a fixed rate however slow its answers are."""
    given = dict(locals())
    given["detector"] = None if detector == "none" else detector
    with failures_in_one_line():
        check_json(json_file)
        check_flags(given)
        show(_answer(given), json_file)


def _answer(given: Mapping[str, Any]) -> Report:
    """What is found out about the question that the flags ask; they are given by their parameters' names."""
    from posewire_server.benchmark.load.capacity import CapacityOptions, find_capacity
    from posewire_server.benchmark.load.interference import InterferenceOptions, measure_interference
    from posewire_server.benchmark.load.overload import OverloadOptions, measure_overload
    from posewire_server.benchmark.load.rig import measure_load
    from posewire_server.benchmark.load.scaling import ScalingOptions, measure_scaling

    load = _load_options(given)
    if given["find_max"]:
        bound = _chosen(given, "latency_bound_ms", "percentile")
        if given["most_lost"] is not None:
            bound["most_lost_share"] = given["most_lost"] / 100
        return find_capacity(CapacityOptions(load=load, **bound))
    if given["hostile"] is not None:
        return measure_interference(InterferenceOptions(load=load, kind=given["hostile"], **_chosen(given, "rounds")))
    if given["scaling"]:
        return measure_scaling(ScalingOptions(load=load, **_chosen(given, "rounds")))
    if given["overload"]:
        return measure_overload(OverloadOptions(load=load, **_chosen(given, "seconds")))
    return measure_load(load)


def _load_options(given: Mapping[str, Any]) -> LoadOptions:
    """The load, and the server that is to carry it."""
    from posewire_server.benchmark.clips import ClipOptions
    from posewire_server.benchmark.load.options import BoxesFrom, LoadOptions

    finds = given["detector"] is not None
    own_settings = {name: given[name] for name in ("bundle", "flow", "device", "threads")}
    own = ServerConfig(detector=given["detector"] or "none", **own_settings)
    unchanged = (
        *("streams", "fps", "drop_policy", "detect_every", "generators", "max_lateness_ms"),
        *("metrics_url", "random_weights"),
    )
    return LoadOptions(
        server=own if given["server"] is None else access_given(given["server"]),
        clip=ClipOptions(
            sources=tuple(given["source"] or ()),
            size=None if given["size"] is None else parse_size(given["size"]),
            people=given["people"],
            codec=given["codec"],
        ),
        warm_up_s=given["warm_up"],
        boxes=BoxesFrom.INJECTED if given["inject"] else BoxesFrom.DETECTOR if finds else BoxesFrom.CALLER,
        max_detect_every=given["max_detect_every"] or 0,
        **{name: given[name] for name in unchanged},
        **_chosen(given, "seconds"),
    )


def _chosen(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those of the flags that have a value: for the others, the options have their own."""
    return {name: given[name] for name in names if given[name] is not None}

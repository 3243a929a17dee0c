"""`posewire bench load`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from posewire.cli.access import access_given, with_access_flags
from posewire.cli.failures import CommandError
from posewire.cli.options import parse_size
from posewire_benchmark.command_line import (
    JsonFlag,
    Report,
    check_json,
    failures_in_one_line,
    mistakes_of_usage,
    show,
)
from posewire_benchmark.footage import FootageCodec
from posewire_benchmark.load import flags
from posewire_benchmark.load.flag_rules import check_flags
from posewire_server.config import ServerConfig
from posewire_server.streams.inbox import DropPolicy

if TYPE_CHECKING:
    from posewire_benchmark.load.options import LoadOptions

__all__ = ["load"]


class _Answer(Report, Protocol):
    """Results that may be invalid."""

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """Why they are invalid, or what does not hold; empty if all is well."""
        ...


@with_access_flags
def load(
    server: flags.ServerFlag = None,
    metrics_url: flags.MetricsUrlFlag = "",
    bundle: flags.BundleFlag = None,
    random_weights: flags.RandomWeightsFlag = False,
    without_networks: flags.WithoutNetworksFlag = False,
    servers: flags.ServersFlag = None,
    detector: flags.DetectorFlag = None,
    inject: flags.InjectFlag = False,
    flow: flags.FlowFlag = None,
    device: flags.DeviceFlag = None,
    threads: flags.ThreadsFlag = None,
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
        with mistakes_of_usage():
            find_out = _question(given)
        answer = find_out()
        show(answer, json_file)
        if answer.shortcomings:
            raise CommandError(f"the figures do not hold: {'; '.join(answer.shortcomings)}")


def _question(given: Mapping[str, Any]) -> Callable[[], _Answer]:
    """The measurement that the flags, given by their parameters' names, ask for.

    Raises:
        ValueError: a value is out of range, or two contradict each other.
    """
    from posewire_benchmark.load.capacity import CapacityOptions, find_capacity
    from posewire_benchmark.load.interference import InterferenceOptions, measure_interference
    from posewire_benchmark.load.overload import OverloadOptions, measure_overload
    from posewire_benchmark.load.rig import measure_load
    from posewire_benchmark.load.scaling import ScalingOptions, measure_scaling

    load = _load_options(given)
    if given["find_max"]:
        bound = _chosen(given, "latency_bound_ms", "percentile")
        if given["most_lost"] is not None:
            bound["most_lost_share"] = given["most_lost"] / 100
        return partial(find_capacity, CapacityOptions(load=load, **bound))
    if given["hostile"] is not None:
        options = InterferenceOptions(load=load, kind=given["hostile"], **_chosen(given, "rounds"))
        return partial(measure_interference, options)
    if given["scaling"]:
        return partial(measure_scaling, ScalingOptions(load=load, **_chosen(given, "rounds")))
    if given["overload"]:
        return partial(measure_overload, OverloadOptions(load=load, **_chosen(given, "seconds")))
    return partial(measure_load, load)


def _load_options(given: Mapping[str, Any]) -> LoadOptions:
    """The load, and the server that is to carry it."""
    from posewire_benchmark.clips import ClipOptions
    from posewire_benchmark.load.options import BoxesFrom, LoadOptions

    finds = given["detector"] is not None
    injects = given["inject"] or given["without_networks"]
    own_settings = _chosen(given, "bundle", "flow", "device", "threads")
    own = ServerConfig(detector=given["detector"] or "none", **own_settings)
    unchanged = (
        *("streams", "fps", "drop_policy", "detect_every", "generators", "max_lateness_ms"),
        *("metrics_url", "random_weights", "without_networks"),
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
        boxes=BoxesFrom.INJECTED if injects else BoxesFrom.DETECTOR if finds else BoxesFrom.CALLER,
        max_detect_every=given["max_detect_every"] or 0,
        **{name: given[name] for name in unchanged},
        **_chosen(given, "seconds", "servers"),
    )


def _chosen(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Those of the flags that have a value; for the others, the options have defaults."""
    return {name: given[name] for name in names if given[name] is not None}

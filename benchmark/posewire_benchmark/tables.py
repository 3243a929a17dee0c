"""Turns the JSON of the benchmarks into Markdown tables. Numbers are only formatted, none is computed here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from posewire.cli.quantities import quantity

__all__ = ["TABLES"]

Figures = dict[str, Any]


def _machine(machine: Figures) -> str:
    return (
        f"{machine['date']}, {machine['processor']}, {machine['cores']} cores, {machine['device']}, Python "
        f"{machine['python']}, posewire {machine['posewire']}; load {machine['load']:.1f} at the start."
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|" + "-|" * len(heads)]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _median(ratio: float | None, wanted: str = "") -> str:
    return f"Median ratio **{_number(ratio, 2)}**{wanted}{'; no valid round' if ratio is None else ''}."


def _spread(of: Figures | None) -> str:
    return "-" if of is None else " / ".join(_number(of[rank]) for rank in ("p50", "p95", "p99", "max"))


def _setting(result: Figures, faults: str = "faults") -> str:
    setting = result["setting"]
    lines = [
        _machine(setting["machine"]),
        f"{setting['models']}; {setting['frames']}; boxes: {setting['boxes']}; drop policy {setting['drop_policy']}.",
    ]
    return "\n".join([*lines, *(f"**Not valid:** {fault}" for fault in result[faults])])


def _secured(cost: Figures | None) -> list[tuple[str, str]]:
    return [] if cost is None else [("the same with TLS and a token", f"{cost['service_ms']:.1f} ms")]


def _service(figures: Figures) -> str:
    cost, stages, flow, tracker = (figures[part] for part in ("service_cost", "stages", "throughput", "tracker"))
    rows = [
        ("gRPC, scheduling and tracking, per frame", f"{cost['service_ms']:.1f} ms"),
        (
            "of it gRPC / scheduling / tracking",
            f"{cost['grpc_ms']:.1f} / {cost['scheduling_ms']:.1f} / {cost['tracker_ms']:.1f} ms",
        ),
        *_secured(figures["secured_cost"]),
        ("decoding / networks", f"{cost['decode_ms']:.1f} / {cost['networks_ms']:.1f} ms"),
        ("round trip", f"{cost['round_trip_ms']:.1f} ms"),
        (
            "networks alone: detector / flow / poses",
            f"{stages['detect_ms']:.1f} / {stages['flow_ms']:.1f} / {stages['pose_ms']:.1f} ms",
        ),
        (
            "throughput over loopback / in process",
            f"{flow['server_fps']:.1f} / {flow['in_process_fps']:.1f} fps, ratio {flow['ratio']:.2f}",
        ),
        (
            f"tracker, {tracker['people']} people, L_Q = {tracker['queue_length']}, p50 / p95",
            f"{tracker['median_ms']:.2f} / {tracker['p95_ms']:.2f} ms",
        ),
    ]
    memory = figures["memory"]
    if memory is not None:
        rows += [
            (
                f"memory of the server, early / after {memory['frames']} frames",
                f"{memory['before_frames_mb']:.0f} / {memory['after_frames_mb']:.0f} MB",
            ),
            (f"and after {memory['streams']} more streams", f"{memory['after_streams_mb']:.0f} MB"),
        ]
    width, height = figures["frame_size"]
    people = quantity(figures["people"], "person", "people")
    frames = f"{width}x{height}, {people}, boxes from the {figures['boxes_from']}."
    return f"{_machine(figures['machine'])}\n{frames}\n\n{_table(('median', ''), rows)}"


def _load(result: Figures) -> str:
    counts, use = result["frames"], result["utilisation"]
    told = ", ".join(f"{count} {reason}" for reason, count in (counts["drops"] | counts["failures"]).items())
    reasons = f" ({told})" if told else ""
    rows = [
        ("streams, fps each", f"{result['streams']}, {result['fps']:g}"),
        ("offered / answered", f"{result['offered_fps']:.1f} / {result['answered_fps']:.1f} fps"),
        ("tracked / dropped / failed", f"{counts['tracked']} / {counts['dropped']} / {counts['failed']}{reasons}"),
        ("latency from the due time, p50 / p95 / p99 / max", f"{_spread(result['latency'])} ms"),
        ("age of the newest result, likewise", f"{_spread(result['age'])} ms"),
        *((f"stage {name}, likewise", f"{_spread(times)} ms") for name, times in result["stages"].items()),
        *(
            (f"batch of {stage}, mean", f"{batches['mean_items']:.2f} items, {batches['mean_ms']:.1f} ms")
            for stage, batches in (result["batches"] or {}).items()
        ),
        (
            "cores of the server / of the generator",
            f"{_number(use['server_cores'], 2)} / {_number(use['generator_cores'], 2)}",
        ),
        ("generator's lateness, p50 / p95 / p99 / max", f"{_spread(result['lateness'])} ms"),
    ]
    if use["gpu"] is not None:
        rows.append(("GPU busy", f"{use['gpu']['busy_percent']:.0f} %, {use['gpu']['memory_mb']:.0f} MB"))
    return f"{_setting(result, 'shortcomings')}\n\n{_table(('', ''), rows)}"


def _capacity(figures: Figures) -> str:
    result = figures["result"]
    rows = [
        (
            step["streams"],
            _number(step["latency_ms"]),
            _percent(step["lost_share"]),
            _number(step["server_cores"], 2),
            "; ".join(step["faults"]),
        )
        for step in figures["steps"]
    ]
    heads = ("streams", f"p{figures['percentile']} ms", "lost", "cores", "why not")
    answer = (
        f"**{quantity(figures['streams'], 'stream')} at {figures['fps']:g} fps**: p{figures['percentile']} <= "
        f"{figures['latency_bound_ms']:g} ms with at most {_percent(figures['most_lost_share'])} lost; limited by the "
        f"{figures['limited_by']}."
    )
    return f"{_setting(result)}\n\n{_table(heads, rows)}\n\n{answer}"


def _scaling(figures: Figures) -> str:
    rows = [
        (_number(each["one_fps"]), _number(each["many_fps"]), _number(each["ratio"], 2), "; ".join(each["faults"]))
        for each in figures["rounds"]
    ]
    heads = ("fps of one stream", f"of {figures['streams']} together", "ratio", "")
    return f"{_setting(figures['many'])}\n\n{_table(heads, rows)}\n\n{_median(figures['ratio'])}"


def _overload(figures: Figures) -> str:
    rows = [
        ("carried", f"{figures['carried_fps']:.1f} fps"),
        (
            "overload",
            f"{figures['result']['offered_fps']:.1f} fps, {_percent(figures['result']['lost_share'])} dropped",
        ),
        ("a frame alone in the server", f"{figures['service_ms']:.1f} ms"),
        ("frame interval", f"{figures['interval_ms']:.1f} ms"),
        ("median age of results, in time", " ".join(_number(age, 0) for age in figures["windows_ms"]) + " ms"),
        ("worst, and the bound", f"{_number(figures['worst_ms'])} / {figures['bound_ms']:.1f} ms"),
        ("last third / first third", _number(figures["growth"], 2)),
        ("memory of the server", f"{_number(figures['memory_growth_mb'])} MB more"),
        ("holds", "yes" if figures["holds"] else f"**no**: {'; '.join(figures['faults'])}"),
    ]
    return f"{_setting(figures['result'])}\n\n{_table(('', ''), rows)}"


def _hostile(figures: Figures) -> str:
    rows = [
        (
            _number(each["without_p95_ms"]),
            _number(each["with_p95_ms"]),
            _number(each["ratio"], 2),
            each["hostile"]["attacks"],
            _number(each["hostile"]["cores"], 2),
            "; ".join(each["faults"]),
        )
        for each in figures["rounds"]
    ]
    heads = ("p95 without, ms", "with", "ratio", "attacks", "its cores", "")
    answer = _median(figures["ratio"], " (wanted: below 1.2)")
    return f"{_setting(figures['beside'])}\n\n{_table(heads, rows)}\n\n{answer}"


def _roofline(figures: Figures) -> str:
    peaks = [
        f"Peak in {precision}: {peak['matmul_gmacs']:.0f} (matrix product), {peak['convolution_gmacs']:.0f} "
        f"(convolution) GMAC/s; copy {peak['copy_gbs']:.1f} GB/s."
        for precision, peak in figures["peaks"].items()
    ]
    rows = [
        (
            point["network"],
            point["runtime"],
            point["precision"],
            point["batch"],
            _number(point["ms"], 2),
            _number(point["gmacs"]),
            _number(point["gbs"]),
            _percent(point["share_of_peak"]),
            point["bound"],
        )
        for point in figures["points"]
    ]
    heads = ("network", "runtime", "precision", "batch", "ms", "GMAC/s", "GB/s", "of peak", "bound by")
    above = [_machine(figures["machine"]), *peaks, *figures["remarks"]]
    return "\n".join(above) + f"\n\n{_table(heads, rows)}"


def _runtimes(figures: Figures) -> str:
    names = list(figures["times"][0]["ms"]) if figures["times"] else []
    rows = [
        (row["network"], row["batch"], *(_number(row["ms"].get(name), 2) for name in names), row["fastest"])
        for row in figures["times"]
    ]
    above = [_machine(figures["machine"]), f"Float32, {figures['threads']} threads; ms of a batch."]
    return "\n".join(above) + f"\n\n{_table(('network', 'batch', *names, 'fastest'), rows)}"


TABLES: dict[str, Callable[[Figures], str]] = {
    "service": _service,
    "load": _load,
    "capacity": _capacity,
    "scaling": _scaling,
    "overload": _overload,
    "hostile": _hostile,
    "roofline": _roofline,
    "runtimes": _runtimes,
}
"""From the kind of benchmark to a function that turns its JSON into Markdown."""

"""`posewire info`: what is installed here, and the description of a server."""

from __future__ import annotations

import platform
from importlib.util import find_spec

from rich.table import Table

from posewire import ConnectionFailed, ServerInfo, __version__
from posewire.cli.access import access_given
from posewire.cli.console import plain_console
from posewire.cli.failures import say
from posewire.cli.quantities import quantity

__all__ = ["run_info"]

_NEEDED_BY_THE_SERVER = (
    "torch",
    "torchvision",
    "onnxruntime",
    "safetensors",
    "simplejpeg",
    "grpc_health",
    "grpc_reflection",
    "prometheus_client",
)


def run_info(address: str | None) -> None:
    """Print versions, and the description of the server at `address`, by default of the server on this machine.

    Raises:
        CallError: there is no answer from the given address.
    """
    table = _table()
    table.add_row("posewire", __version__)
    table.add_row("python", platform.python_version())
    missing = [package for package in _NEEDED_BY_THE_SERVER if find_spec(package) is None]
    remedy = f"not installed ({', '.join(missing)} missing): pip install 'posewire[server]'"
    table.add_row("server extra", remedy if missing else "installed")
    plain_console().print(table)
    with access_given(address or "127.0.0.1").client(timeout_s=10.0) as client:
        try:
            info = client.server_info()
        except ConnectionFailed:
            if address is not None:
                raise
            say(f"no server at {client.address}; start one with `posewire serve`")
            return
        plain_console().print(_described(info, client.address))


def _table() -> Table:
    return Table(show_header=False, box=None, pad_edge=False)


def _described(info: ServerInfo, address: str) -> Table:
    table = _table()
    models, limits = info.models, info.limits
    table.add_row("server", f"{address}, version {info.version}, {quantity(info.active_streams, 'open stream')}")
    table.add_row("device", info.device)
    table.add_row("bundle", f"{models.bundle}, version {models.bundle_version}")
    table.add_row("detector", models.detector or "none: send boxes with each frame")
    table.add_row("flow", models.flow)
    flip_test = ", flip test" if models.flip_test else ""
    table.add_row("pose", f"{models.pose}, {len(info.joint_set)} joints ({info.joint_set.name}){flip_test}")
    table.add_row("joint sets", ", ".join(info.joint_sets))
    table.add_row("codecs", ", ".join(info.codecs))
    megapixels, mebibytes = limits.max_frame_pixels / 1e6, limits.max_frame_bytes / 2**20
    pictures = "" if limits.max_pictures is None else f" and {quantity(limits.max_pictures, 'picture')}"
    table.add_row("limits", f"{quantity(limits.max_streams, 'stream')}{pictures} at a time")
    people = quantity(limits.max_people, "person", "people")
    table.add_row("", f"{people}, {megapixels:.1f} megapixels, {mebibytes:.0f} MiB a frame")
    given = {name: value for name, value in vars(info.tracker_defaults).items() if value is not None}
    shown = {name: f"{value:.3g}" if isinstance(value, float) else str(value) for name, value in given.items()}
    table.add_row("tracker", ", ".join(f"{name} {value}" for name, value in shown.items()))
    return table

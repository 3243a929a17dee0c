"""Which flags of `posewire bench load` can be combined: flags without effect are rejected."""

from __future__ import annotations

from collections.abc import Mapping

from posewire.cli.access import access_flags_given
from posewire.cli.failures import UsageError, as_flags

__all__ = ["check_flags"]

_OF_ACCESS = ("tls", "ca", "cert", "key", "token_file", "insecure")
_QUESTIONS = ("find_max", "overload", "scaling", "hostile")
# Flags, and those of which at least one must be given with them.
_NEED = (
    (("latency_bound_ms", "percentile", "most_lost"), ("find_max",)),
    (("rounds",), ("hostile", "scaling")),
    (("inject", "detect_every", "max_detect_every"), ("detector",)),
    (("metrics_url", *_OF_ACCESS), ("server",)),
)
_OF_NETWORKS = ("bundle", "random_weights", "inject", "flow", "device", "threads")
_OF_A_PRIVATE_SERVER = (*_OF_NETWORKS, "without_networks", "servers")


def check_flags(values: Mapping[str, object]) -> None:
    """Reject flags that would have no effect.

    Args:
        values: of the flags, `find_max` for `--find-max`; flags of access are looked up.

    Raises:
        KeyError: a flag is missing in `values`.
        UsageError: two flags contradict each other, or one needs another.
    """
    all_of_them = {**values, **dict.fromkeys(_OF_ACCESS, False), **dict.fromkeys(access_flags_given(), True)}
    known = {*_QUESTIONS, *_OF_A_PRIVATE_SERVER, *(name for groups in _NEED for group in groups for name in group)}
    given = {name for name in known if (value := all_of_them[name]) not in (None, "") and value is not False}
    asked = [name for name in _QUESTIONS if name in given]
    if len(asked) > 1:
        raise UsageError(f"{as_flags(asked)} are different questions; ask one at a time")
    for names, beside in _NEED:
        useless = [name for name in names if name in given]
        if useless and not given.intersection(beside):
            raise UsageError(f"without {as_flags(beside, ' or ')}, {as_flags(useless)} would have no effect")
    useless = [name for name in ("detector", *_OF_NETWORKS) if name in given]
    if "without_networks" in given and useless:
        raise UsageError(f"{as_flags(useless)} would configure networks, but there are none; leave them out")
    if "servers" in given and "hostile" in given:
        raise UsageError("a hostile client disturbs only the server that it calls; leave --servers or --hostile out")
    useless = [name for name in _OF_A_PRIVATE_SERVER if name in given]
    if "server" in given and useless:
        raise UsageError(
            f"{as_flags(useless)} would configure a private server, but {values['server']} is given; leave them out"
        )

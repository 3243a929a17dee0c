"""Rejects empty arguments, which come from unset variables: Python takes an empty path for the folder "."."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand, TyperGroup

from posewire.cli.failures import UsageError, expected_failures

__all__ = ["StrictCommand", "StrictGroup", "refuse_empty"]

# An empty value of these overrides one from a file or the environment.
_MAY_BE_EMPTY = ("--traces", "--mirror", "--metrics-url")


def refuse_empty(arguments: Sequence[str]) -> None:
    """Check before any work that no argument is empty.

    Raises:
        UsageError: one is empty; the message names its flag.
    """
    for before, argument in itertools.pairwise(["", *arguments]):
        if argument == "":
            flag = before
        elif argument.startswith("--") and argument.partition("=")[1:] == ("=", ""):
            flag = argument[:-1]
        else:
            continue
        if flag not in _MAY_BE_EMPTY:
            what = f"{flag} has an empty value" if flag.startswith("-") else "an argument is empty"
            raise UsageError(f"{what}: is a variable not set? Give it a value, or leave it out")


class StrictGroup(TyperGroup):
    """Commands that reject empty arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See the base class, whose context belongs to typer's own copy of click."""
        with expected_failures():
            refuse_empty(args)
        return super().parse_args(ctx, args)


class StrictCommand(TyperCommand):
    """A program with a single command that rejects empty arguments."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See the base class."""
        with expected_failures():
            refuse_empty(args)
        return super().parse_args(ctx, args)

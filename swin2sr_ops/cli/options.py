"""Add the options of a request to a command, as `swin2sr_ops.options` describes them. Only argparse is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from swin2sr_ops.cli.arguments import halo, number, tile, whole
from swin2sr_ops.options import OPTIONS, SIDES

__all__ = ["add_hints", "add_options", "add_reading", "add_request"]

_TYPES: dict[str, Callable[[str], Any]] = {"text": str, "whole": whole, "number": number, "halo": halo, "tile": tile}


def add_options(group: argparse._ActionsContainer, *names: str, **changed: Any) -> None:
    """Add options of the table to ``group``; ``changed`` replaces arguments of ``add_argument``, such as ``help``."""
    for name in names:
        option = (OPTIONS | SIDES)[name]
        line = option.line.replace("%", "%%")  # argparse formats it
        given = {"type": _TYPES[option.kind], "default": option.default, "help": line, "metavar": option.metavar}
        group.add_argument("--" + name, **(given | changed))


def add_reading(parser: argparse.ArgumentParser, **series: Any) -> None:
    """Add the options that choose an image of SRC; ``series`` replaces arguments of that option."""
    group = parser.add_argument_group("reading")
    add_options(group, "axes", "level")
    add_options(group, "series", **series)
    add_options(group, "array")


def add_hints(group: argparse._ActionsContainer) -> None:
    """Add the facts that a checkpoint may lack; `swin2sr_ops.cli.request.hints_of` reads them."""
    group.add_argument("--value-range", type=number, help="for a checkpoint that does not state it: 1 or 255")
    group.add_argument("--window", type=whole, help="for a checkpoint that does not state it: 8 or 7")
    group.add_argument("--planes", type=whole, help="for a checkpoint that sees a plane and its neighbours: 3, 5, ...")


def add_request(parser: argparse.ArgumentParser, **series: Any) -> None:
    """Add the options that say how SRC is read and restored."""
    add_reading(parser, **series)
    group = parser.add_argument_group("model")
    add_options(group, "model", "scale")
    add_hints(group)
    group = parser.add_argument_group("values and cutting")
    add_options(group, "range", "halo", "tile", "ensemble", "consistent", "along", "nodata", "mask")
    add_options(group, "device", "precision", "engine")

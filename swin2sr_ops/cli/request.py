"""Convert command-line options to arguments of the functions."""

from __future__ import annotations

import argparse
from dataclasses import fields
from typing import Any

from swin2sr_ops.batch.collect import Entry, collect
from swin2sr_ops.errors import RequestError
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.weights.qualities import views_of

__all__ = ["entries_of", "hints_of", "output_options_of", "request_of"]

_OF_ENTRIES = ("axes", "level", "series", "array")  # `collect` notes them for each image


def entries_of(args: argparse.Namespace) -> list[Entry]:
    """Collect sources and outputs as entries."""
    if not args.src and not args.list:
        # argparse takes a single word for DST, but users write SRC first: the other one is missing.
        missing = "DST" if args.command == "restore" else "SRC"
        raise RequestError(
            f"the following arguments are required: {missing}. `swin2sr-ops {args.command} --help` says more."
        )
    return collect(
        args.src,
        args.dst,
        format=args.format,
        series=args.series,
        array=args.array,
        level=args.level,
        axes=args.axes,
        list_files=args.list or (),
    )


def hints_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the facts about a checkpoint that were given."""
    hints = {"value_range": args.value_range, "window": args.window, "planes": args.planes}
    return {name: value for name, value in hints.items() if value is not None}


def request_of(args: argparse.Namespace) -> RestoreRequest:
    """Build the request that ``restore`` and ``plan`` share, the same for all images."""
    hints = hints_of(args)
    model = resolve_model(args.model, scale=args.scale, **hints) if hints else args.model
    own = {field.name for field in fields(RestoreRequest)} - {"model", *_OF_ENTRIES}
    given = {name: value for name, value in vars(args).items() if name in own and value is not None}
    if args.ensemble == 1:
        given["ensemble"] = views_of(args.model)  # `model` may be a spec now, which states none
    return RestoreRequest(model=model, **given).validated()


def output_options_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the output that were given."""
    given = {
        "ngff": args.ngff,
        "pyramid": False if args.no_pyramid else None,
        "context": args.context or None,
        "spread": args.spread or None,
        "interval": args.interval,
        "calibration": args.calibration,
        "limit": args.limit if args.command == "restore" else None,  # of `serve`: of its cache
        "noise": args.noise,
        "labels": args.labels,
        "creation": getattr(args, "co", None),
        "allow_missing": getattr(args, "allow_missing", None) or None,
    }
    return {key: value for key, value in given.items() if value is not None}

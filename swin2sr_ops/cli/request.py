"""From command-line options to what the functions take."""

from __future__ import annotations

import argparse
from typing import Any

from swin2sr_ops.batch.collect import Entry, collect
from swin2sr_ops.errors import RequestError
from swin2sr_ops.hooks.dispatch import resolve_model

__all__ = ["entries_of", "output_options_of", "request_of"]


def entries_of(args: argparse.Namespace) -> list[Entry]:
    """What is restored into what."""
    if not args.src and not args.list:
        # One word alone is taken for DST, but it is the first that people write that is there.
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


def request_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options of `swin2sr_ops.run.job.prepare` that ``restore`` and ``plan`` share, the same for all images."""
    hints = {"value_range": args.value_range, "window": args.window}
    given = {k: v for k, v in hints.items() if v is not None}
    request = {
        "model": resolve_model(args.model, scale=args.scale, **given) if given else args.model,
        "scale": args.scale,
        "halo": args.halo,
        "tile": args.tile,
        "range": args.range,
        "device": args.device,
        "precision": args.precision,
        "nodata": args.nodata,
    }
    more = {name: getattr(args, name, None) for name in ("mask", "chunks", "shards", "ensemble", "engine")}
    return request | {name: value for name, value in more.items() if value is not None}


def output_options_of(args: argparse.Namespace) -> dict[str, Any]:
    """The options of the output, only those that were given."""
    given = {
        "ngff": args.ngff,
        "pyramid": False if args.no_pyramid else None,
        "context": args.context or None,
        "spread": args.spread or None,
        "labels": args.labels,
        "allow_missing": args.allow_missing or None,
    }
    return {key: value for key, value in given.items() if value is not None}

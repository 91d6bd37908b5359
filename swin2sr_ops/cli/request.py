"""From command-line options to a job."""

from __future__ import annotations

import argparse

from swin2sr_ops.job import Job, prepare
from swin2sr_ops.plugins import resolve_model

__all__ = ["job_of"]


def job_of(args: argparse.Namespace) -> Job:
    """Resolve the options that ``restore`` and ``plan`` share."""
    hints = {"value_range": args.value_range, "window": args.window}
    given = {k: v for k, v in hints.items() if v is not None}
    return prepare(
        args.src,
        model=resolve_model(args.model, scale=args.scale, **given) if given else args.model,
        axes=args.axes,
        scale=args.scale,
        halo=args.halo,
        tile=args.tile,
        range=args.range,
        device=args.device,
        precision=args.precision,
        nodata=args.nodata,
        level=args.level,
        series=args.series,
        array=args.array,
    )

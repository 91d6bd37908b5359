"""``swin2sr-ops advise``."""

from __future__ import annotations

import argparse
import json

from swin2sr_ops.advise import advise
from swin2sr_ops.cli.notes import warnings_as_notes

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Measure samples and print the advice; the status is 1 where no model fits."""
    with warnings_as_notes():
        report = advise(
            args.src, axes=args.axes, level=args.level, series=args.series, array=args.array, nodata=args.nodata,
            seed=args.seed,
        )  # fmt: skip
    print(json.dumps(report.to_dict()) if args.json else report)
    return 0 if report.advice.model else 1

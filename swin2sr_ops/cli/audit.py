"""Run ``swin2sr-ops audit``."""

from __future__ import annotations

import argparse
import json
import sys

from tqdm import tqdm

from swin2sr_ops.audit import audit
from swin2sr_ops.audit.api import SAMPLE
from swin2sr_ops.cli.notes import warnings_as_notes
from swin2sr_ops.errors import RequestError

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Recompute tiles and print the result; the status is 1 if tiles differ or images are missing."""
    if args.all and args.sample is not None:
        raise RequestError("--all and --sample were both given: omit one of them.")
    sample = None if args.all else SAMPLE if args.sample is None else args.sample
    with warnings_as_notes(), tqdm(unit="tile", file=sys.stderr, disable=None, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        report = audit(
            args.out, source=args.source, mask=args.mask, model=args.model, sample=sample, seed=args.seed,
            device=args.device, precision=args.precision, engine=args.engine, progress=progress,
        )  # fmt: skip
    print(json.dumps(report.to_dict()) if args.json else report)
    return 0 if report.ok else 1

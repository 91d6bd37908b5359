"""``swin2sr-ops restore``."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tqdm import tqdm

from swin2sr_ops.cli.request import job_of
from swin2sr_ops.run import run

__all__ = ["main"]


class _Bar:
    """Progress on standard error: pixels done, rate, time left. Silent where nobody looks."""

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.bar: tqdm[Any] | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        if event["kind"] == "range":
            self._looking(event)
        elif event["kind"] == "start":
            self.bar = tqdm(
                total=event["pixels"],
                unit="px",
                unit_scale=True,
                disable=None if self.enabled else True,
                dynamic_ncols=True,
                file=sys.stderr,
            )
        elif event["kind"] == "tile" and self.bar is not None:
            self.bar.set_postfix_str(f"tile {event['done']}/{event['total']}", refresh=False)
            self.bar.update(event["pixels"])
        elif self.bar is not None:
            self.bar.close()

    def _looking(self, event: dict[str, Any]) -> None:
        """A short image is looked at before a line could be read; of a long one it is told."""
        if self.enabled and event["total"] > 10 and sys.stderr.isatty():
            print(f"\rlooking for the intensity range: {event['done']}/{event['total']} ", end="", file=sys.stderr)


def main(args: argparse.Namespace) -> int:
    """Restore, show progress, print the report."""
    job = job_of(args)
    report = run(job, args.dst, overwrite=args.overwrite, progress=_Bar(not args.quiet))
    if args.json:
        print(json.dumps(report.to_dict()))
    elif not args.quiet:
        print(report)
    return 0

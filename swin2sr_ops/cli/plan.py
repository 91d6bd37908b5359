"""``swin2sr-ops plan``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from swin2sr_ops.batch.collect import Entry
from swin2sr_ops.batch.estimate import estimate, network_pixels, span_of_time
from swin2sr_ops.batch.probe import pixels_per_second
from swin2sr_ops.cli.request import entries_of, request_of
from swin2sr_ops.job import prepare

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Print the plan of a request; nothing is written."""
    entries, request = entries_of(args), request_of(args)
    if len(entries) == 1 and not entries[0].collection:
        return _one(entries[0], request, args.json)
    found = estimate(entries, request)
    print(json.dumps(found.to_dict()) if args.json else found)
    return 1 if found.bad else 0


def _one(entry: Entry, request: dict[str, Any], as_json: bool) -> int:
    job = prepare(entry.source, **request, **entry.options)
    out = job.output
    seconds = sum(pixels / pixels_per_second(restorer) for restorer, pixels in network_pixels(job))
    if as_json:
        extra = {
            "source": job.source.uri,
            "planes": job.planes,
            "output_shape": list(out.shape),
            "output_bytes": out.nbytes,
            "output_chunk": list(job.chunk),
            "seconds": seconds,
        }
        print(json.dumps(job.plan.to_dict() | extra))
        return 0
    print(f"source      {job.source.uri} ({job.source.info.format}), axes {job.order.axes}, {job.source.info.dtype}")
    print(job.plan)
    print(f"planes      {job.planes}, each with all tiles")
    print(f"output      {' x '.join(map(str, out.shape))} {out.dtype}, {out.nbytes / 2**20:.1f} MiB not compressed")
    print(f"time        about {span_of_time(seconds)}, from a probe of this device")
    return 0

"""``swin2sr-ops plan``."""

from __future__ import annotations

import argparse
import json

from swin2sr_ops.cli.request import job_of

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Print the plan of a request; nothing is computed."""
    job = job_of(args)
    out = job.output
    if args.json:
        extra = {
            "source": job.source.uri,
            "planes": job.planes,
            "output_shape": list(out.shape),
            "output_bytes": out.nbytes,
            "output_chunk": list(job.chunk),
        }
        print(json.dumps(job.plan.to_dict() | extra))
        return 0
    print(f"source      {job.source.uri} ({job.source.info.format}), axes {job.order.axes}, {job.source.info.dtype}")
    print(job.plan)
    print(f"planes      {job.planes}, each with all tiles")
    print(f"output      {' x '.join(map(str, out.shape))} {out.dtype}, {out.nbytes / 2**20:.1f} MiB not compressed")
    return 0

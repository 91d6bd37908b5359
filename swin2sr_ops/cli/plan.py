"""Run ``swin2sr-ops plan``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from swin2sr_ops.batch.collect import Entry
from swin2sr_ops.batch.cost import Estimate, counted, measured, span_of_time
from swin2sr_ops.batch.estimate import estimate, network_pixels, seconds_of
from swin2sr_ops.cli.notes import warnings_as_notes
from swin2sr_ops.cli.request import entries_of, request_of
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.job import Job, Part, prepare

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Print the plan of a request; write nothing."""
    with warnings_as_notes():
        return _plan(args)


def _plan(args: argparse.Namespace) -> int:
    entries, request = entries_of(args), request_of(args)
    if len(entries) == 1 and not entries[0].collection:
        return _one(entries[0], request, args.json)
    before: list[Estimate] = []
    tell = before.append if args.json else partial(_begin, before)
    found = estimate(entries, request, counted=tell)
    if args.json:
        print(json.dumps(found.to_dict()))
    else:
        print("\n".join(measured(found, before[0])))
    return 1 if found.bad or found.missing else 0


def _begin(before: list[Estimate], found: Estimate) -> None:
    """Print the counts before anything is measured."""
    before.append(found)
    print(found, flush=True)


def _one(entry: Entry, request: RestoreRequest, as_json: bool) -> int:
    job = prepare(entry.source, request.for_image(**entry.options))
    if as_json:
        print(json.dumps(_facts(job)))
        return 0
    for line in _lines(job):
        print(line, flush=True)
    print(f"time        about {span_of_time(seconds_of(network_pixels(job)))}, from a probe of this device")
    return 0


def _facts(job: Job) -> dict[str, Any]:
    """Return figures of one plane, and of all planes."""
    parts = [{"model": _model(part), "bands": _bands(job, part)} for part in job.parts if part.groups is not None]
    extra = {
        "source": job.image,
        "planes": job.planes,
        "all_tiles": job.count,
        "parts": parts,
        "peak_bytes": max(part.plan.peak_bytes for part in job.parts),
        "output_shape": list(job.output.shape),
        "output_bytes": job.output.nbytes,
        "output_chunk": list(job.chunk),
        "seconds": seconds_of(network_pixels(job)),
    }
    return job.plan.to_dict() | extra


def _lines(job: Job) -> Iterator[str]:
    out = job.output
    info = job.source.info
    yield f"source      {job.image} ({info.format}), axes {job.order.axes}, {info.dtype}"
    grouped = job.parts[0].groups is not None
    for part in job.parts:
        if part.restorer is not None:
            yield from _lines_of(job, part, grouped)
        else:
            yield f"bands       {_names(job, part)}: opacity, repeated pixel by pixel"
    yield f"all tiles   {_sum(job, grouped)}"
    yield f"output      {' x '.join(map(str, out.shape))} {out.dtype}, {out.nbytes / 2**20:.1f} MiB not compressed"


def _lines_of(job: Job, part: Part, grouped: bool) -> Iterator[str]:
    if grouped:
        yield f"bands       {_names(job, part)}"
    yield str(part.plan)


def _sum(job: Job, grouped: bool) -> str:
    if not grouped:
        return f"{job.count}: {counted(job.planes, 'plane')} of {counted(len(job.plan), 'tile')}"
    times = job.count // len(job.plan)
    return f"{job.count}: {counted(len(job.plan), 'tile')} in each of {times} passes; bands that go together are one"


def _names(job: Job, part: Part) -> str:
    """Name the bands of ``part``; a plus sign joins those that enter the network together."""
    return ", ".join(" + ".join(group) for group in _bands(job, part))


def _bands(job: Job, part: Part) -> list[list[str]]:
    """Name the bands that enter the network together; use their numbers, from 1, if they have no names."""
    labels = [str(channel.get("label") or "") for channel in job.source.info.channels]
    labels += [""] * (1 + max(band for group in part.groups or () for band in group))
    return [[labels[band] or str(band + 1) for band in group] for group in part.groups or ()]


def _model(part: Part) -> str | None:
    return None if part.restorer is None else part.restorer.spec.name

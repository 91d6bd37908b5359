"""The intensity map of a stored image, decided once, read out of core."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from swin2sr_ops.io.base import Region
from swin2sr_ops.job import Job
from swin2sr_ops.values import IntensityMap, RangeRequest, Statistics, range_limits

__all__ = ["intensity_maps"]

#: What is read at a time.
BAND_BYTES = 64 << 20


def intensity_maps(job: Job) -> tuple[IntensityMap, ...]:
    """One map, or one per channel: decided once for the whole image, read block by block."""
    info = job.source.info
    known = job.request.immediate(info.dtype)
    if known is not None:
        return (known,)
    edges = None
    if job.request.kind == "percentile":
        channels = 1 if job.order.channel is None else job.order.shape[job.order.channel]
        low, high = range_limits(info.dtype)
        edges = np.full(channels, low), np.full(channels, high)
        if info.dtype.kind == "f" or info.dtype.itemsize > 2:
            first = _look(job, None)
            first.maps(RangeRequest("auto"))  # refuses an image without valid pixels
            edges = first.low, first.high
    return _look(job, edges).maps(job.request)


def _look(job: Job, edges: Any) -> Statistics:
    found = []
    for region, channel in _strips(job):
        part_edges = None if edges is None else (edges[0][channel : channel + 1], edges[1][channel : channel + 1])
        part = Statistics.of(job.source.read(region), None, job.source.info.nodata, part_edges)
        found.append((channel, part))
    channels = sorted({c for c, _ in found})
    merged = [Statistics.merge([p for c, p in found if c == channel]) for channel in channels]
    counts = None if edges is None else np.concatenate([m.counts for m in merged if m.counts is not None])
    return Statistics(np.concatenate([m.low for m in merged]), np.concatenate([m.high for m in merged]), counts, edges)


def _strips(job: Job) -> Iterator[tuple[Region, int]]:
    """Regions that together are the image: planes, in bands of whole chunks of about 64 MiB; and their channel."""
    info, order = job.source.info, job.order
    row_bytes = max(info.size("X") * order.colours * info.dtype.itemsize, 1)
    chunk = max(info.chunks[order.y], 1)
    band = max(BAND_BYTES // row_bytes // chunk, 1) * chunk
    for chosen, channel in job.each_plane():
        for top in range(0, info.size("Y"), band):
            region = [chosen.get(a, slice(0, n)) for a, n in enumerate(order.shape)]
            region[order.y] = slice(top, min(top + band, info.size("Y")))
            yield tuple(region), channel

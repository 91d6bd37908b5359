"""The intensity map of a stored image, decided once, read out of core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from swin2sr_ops.io.base import Region
from swin2sr_ops.job import Job
from swin2sr_ops.statistics import Statistics, check_any_valid
from swin2sr_ops.values import IntensityMap

__all__ = ["intensity_maps"]

#: What is read at a time.
BAND_BYTES = 64 << 20


def intensity_maps(job: Job, tell: Callable[[dict[str, Any]], None]) -> tuple[IntensityMap, ...]:
    """One map, or one per channel: decided once for the whole image, read band by band."""
    dtype = job.source.info.dtype
    known = job.request.immediate(dtype)
    if known is not None:
        return (known,)
    looks = job.request.looks(dtype)
    first = _look(job, None, tell) if looks == 2 else None
    last = _look(job, first, tell)
    check_any_valid(list(last.values()))
    return tuple(
        found
        for channel in sorted(last)
        for found in last[channel].maps(job.request, dtype, None if first is None else first[channel])
    )


def _look(
    job: Job, first: dict[int, Statistics] | None, tell: Callable[[dict[str, Any]], None]
) -> dict[int, Statistics]:
    """Statistics of each channel: one at a time is held, however many planes there are."""
    found: dict[int, Statistics] = {}
    bands = list(_bands(job))
    for i, (region, channel) in enumerate(bands):
        tell({"kind": "range", "done": i, "total": len(bands)})
        block = job.source.read(region)[job.order.without_alpha]
        earlier = None if first is None else first[channel]
        part = Statistics.of(block, None, job.nodata, job.request, earlier)
        found[channel] = found[channel] + part if channel in found else part
    return found


def _bands(job: Job) -> Iterator[tuple[Region, int]]:
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

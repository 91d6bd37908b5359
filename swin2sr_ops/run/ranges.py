"""Decide the intensity map of a stored image once, reading it out of core on several workers.

Percentiles of a sample, with their error
-----------------------------------------
``range="p1,p99.8:sample"`` looks at about `SAMPLE_PIXELS` pixels of each channel, not at all of them.
They come from whole chunks at full resolution: one from anywhere in each of as many equal stretches of
the image, always the same ones. A level of a pyramid would be less to read, but its pixels are means
of others: they smooth away the extremes that percentiles measure, by an unknown amount.

The chunks are dealt to `GROUPS` groups; the chunks of each group are distributed over the whole image. If q is the
percentile of the whole sample, q_g that of group g alone and w_g the group's share of the valid pixels, the
standard error of q is

    SE = sqrt( (1 - f) * G / (G - 1) * sum over g of w_g^2 (q_g - q)^2 )

with G groups and f the fraction of the image's regions that are sampled (the method of random groups,
with the finite population correction). In two cases out of three, the percentile of the whole image
should lie within one SE. On synthetic images with 64 and 240 regions, the root mean square error was 0.6 to
1.3 SE (p0.2 to p99.8; `tests/run/test_ranges.py` contains one such case). For integers, an error far
below one step can be 0.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.events import Progress, RangeProgress
from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.io.masks import valid_pixels
from swin2sr_ops.pixels.intensity import IntensityMap, RangeRequest
from swin2sr_ops.pixels.masks import shown_pixels
from swin2sr_ops.pixels.sampling import Band, BandGrid, Bands, deal, stratified
from swin2sr_ops.pixels.statistics import Statistics, check_any_valid, note_constant

if TYPE_CHECKING:
    from swin2sr_ops.run.input_watch import InputWatch
    from swin2sr_ops.run.job import Job

__all__ = ["GROUPS", "SAMPLE_PIXELS", "Look", "each_in_threads", "intensity_maps", "noted_maps"]

#: Bytes that each thread reads at a time.
BAND_BYTES = 16 << 20
#: Pixels of each channel in a sample.
SAMPLE_PIXELS = 64_000_000
#: Pixels of one channel that a sample reads in one place if chunks are smaller.
SAMPLE_BLOCK = 1 << 18
#: Groups of a sample; its error follows from their differences.
GROUPS = 16
#: Fewest regions of a group: with two, the estimated error of rare bright pixels was half of the real one.
LEAST_PER_GROUP = 4
#: Number of channels whose histograms are held at once: for a whole image; for a sample, in all its groups.
CHANNELS, SAMPLED_CHANNELS = 16, 4
#: Threads that read, unless an executor does.
THREADS = 4

T = TypeVar("T")
R = TypeVar("R")
Each = Callable[[Callable[[Band], Statistics], Sequence[Band], Callable[[Band, Statistics], None]], None]
Found = dict[tuple[int, int], Statistics]  # by number of the map and group


@dataclass(frozen=True)
class Look:
    """Read a region and count its valid pixels, on a worker."""

    source: ImageSource
    order: AxisOrder
    nodata: float | None
    request: RangeRequest
    mask: ImageSource | None = None

    def __call__(self, band: Band) -> Statistics:
        """Return the statistics of one region, one row per channel."""
        block = self.source.read(band.region)
        valid = valid_pixels(self.source, self.mask, self.order, band.region)
        valid = shown_pixels(block, self.order, valid)
        if valid is not None:
            valid = np.broadcast_to(valid, block.shape)[self.order.without_alpha]
        block = block[self.order.without_alpha]
        return Statistics.of(block, self.order.channel, self.nodata, self.request, bins=band.bins, valid=valid)

    def whole(self, channels: tuple[int, int]) -> Bands:
        """List regions that together cover these channels."""
        info = self.source.info
        grid = BandGrid.of(self.order, info.chunks, BAND_BYTES // info.dtype.itemsize, channels, CHANNELS)
        return Bands(grid, range(grid.count))

    def sample(self, channels: tuple[int, int]) -> Bands:
        """Return regions distributed over the image; all regions, if a sample would not be smaller."""
        order, together = self.order, channels[1] - channels[0]
        values = SAMPLE_BLOCK * together * order.colours
        grid = BandGrid.of(order, self.source.info.chunks, values, channels, SAMPLED_CHANNELS)
        apart = 1 if order.channel is None else grid.counts[order.channel]
        pixels = math.prod(grid.step) * apart // (together * order.colours)  # of each channel
        count = max(-(-SAMPLE_PIXELS // (pixels * GROUPS)), LEAST_PER_GROUP) * GROUPS * apart
        if count >= grid.count:
            return self.whole(channels)
        return Bands(grid, stratified(count, grid.count), GROUPS, deal(count, GROUPS))

    def parts(self, numbers: Sequence[int | None]) -> list[Bands]:
        """List the regions to read for a few channels at a time, since the histograms of all would not fit."""
        axis, chunks = self.order.channel, self.source.info.chunks
        thick = 1 if axis is None else max(chunks[axis], 1)
        # A sample takes at most the channels of one chunk, so that each has its share of the regions.
        few = min(thick, SAMPLED_CHANNELS) if self.request.sample else max(CHANNELS // thick, 1) * min(thick, CHANNELS)
        edges = [0, *(c for c in range(few, len(numbers), few) if _parted(numbers, c)), len(numbers)]
        where = self.sample if self.request.sample else self.whole
        return [where((a, b)) for a, b in pairwise(edges) if any(n is not None for n in numbers[a:b])]


def _parted(numbers: Sequence[int | None], channel: int) -> bool:
    """Tell whether no map needs channels on both sides of the cut before ``channel``."""
    return not (set(numbers[:channel]) & set(numbers[channel:])) - {None}


def intensity_maps(
    job: Job, tell: Progress, each: Each | None = None, *, mask: ImageSource | None = None
) -> tuple[IntensityMap, ...]:
    """Compute one map, or one per channel, once for the whole image, region by region.

    The result does not depend on which worker reads which region, nor on the order.

    Parameters
    ----------
    job : Job
        Its source, order, nodata, parts (which bands share a map) and range request are used.
    tell : callable
        Receives a `RangeProgress` after each region.
    each : callable, optional
        ``each(function, items, done)`` calls ``function`` with every item, in any process and any order, and
        ``done(item, result)`` here, one call at a time, as results arrive. The default uses a few threads: then
        several threads call the source's ``read``.
    mask : ImageSource, optional
        One plane; pixels where it is zero are invalid (`masks.valid_pixels`).

    Returns
    -------
    tuple of IntensityMap
        With their ``error`` if the percentiles are those of a sample.

    Raises
    ------
    RequestError
        If no pixel is valid, or both percentiles are one value.
    """
    numbers = _numbers(job)
    known = job.range.known_maps(job.source.info.dtype, max(job.map_of(c) for c in range(len(numbers))) + 1)
    if known is not None:
        return known
    look = Look(job.source, job.order, job.nodata, job.range, mask)
    parts = look.parts(numbers)
    run = _Run(look, numbers, each or each_in_threads, tell, sum(len(part) for part in parts))
    maps: dict[int, IntensityMap] = {}
    for part in parts:
        maps |= run.maps(part)
    check_any_valid(list(run.extremes.values()))
    note_constant(run.extremes, sampled=job.range.sample)
    # Opacity is neither read nor mapped.
    last = max(job.map_of(c) for c in range(len(numbers)))
    return tuple(maps.get(number, IntensityMap(0.0, 1.0)) for number in range(last + 1))


class Notes(Protocol):
    """What a run keeps with its unfinished output, for the run that resumes it."""

    @property
    def notes(self) -> Mapping[str, Any]: ...

    def note(self, **values: Any) -> None:
        """Keep ``values``."""
        ...


def noted_maps(
    job: Job, watch: InputWatch, kept: Notes | None, tell: Progress, each: Each | None = None
) -> tuple[IntensityMap, ...]:
    """Return the maps that an earlier run has noted; else compute them with `intensity_maps`, and note them.

    ``watch`` makes sure that all pixels were those of one image. A range that needs no pixels needs no second look at
    the files either, which may be many.
    """
    noted = None if kept is None else kept.notes.get("intensity")
    if noted:
        return tuple(IntensityMap.from_dict(one) for one in noted)
    read = partial(intensity_maps, job, tell, each, mask=job.mask)
    maps = watch.steady(read) if job.range.looks(job.source.info.dtype) else read()
    if kept is not None:
        kept.note(intensity=[one.to_dict() for one in maps])
    return maps


def _numbers(job: Job) -> tuple[int | None, ...]:
    """Number the map of each channel; channels that enter the network together share one; None for opacity."""
    if job.order.channel is None:
        return (0,)
    kept = {c for part in job.parts if part.restorer is None for group in part.groups or () for c in group}
    return tuple(None if c in kept else job.map_of(c) for c in range(job.order.shape[job.order.channel]))


def each_in_threads(function: Callable[[T], R], items: Sequence[T], done: Callable[[T, R], None]) -> None:
    """Call ``function`` with every item on a few threads; only a few results wait, for any number of items."""
    waiting: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(THREADS, "look") as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > THREADS:
                    first, future = waiting.popleft()
                    done(first, future.result())
            while waiting:
                first, future = waiting.popleft()
                done(first, future.result())
        finally:
            for _, future in waiting:
                future.cancel()


@dataclass
class _Run:
    """Read the parts of an image one after the other, and merge their statistics."""

    look: Look
    numbers: Sequence[int | None]  # of each channel's map
    each: Each
    tell: Progress
    regions: int  # of all parts
    extremes: dict[int, Statistics] = field(default_factory=dict)  # by number of the map
    done: int = 0

    @property
    def looks(self) -> int:
        return self.look.request.looks(self.look.source.info.dtype)

    def merged(self, part: Bands) -> Found:
        """Read once; merge the results as they come."""
        found: Found = {}

        def add(band: Band, result: Statistics) -> None:
            for i, number in enumerate(self.numbers[band.channel : band.channel + len(result.low)]):
                if number is not None:
                    key = number, band.group
                    found[key] = found[key] + result.row(i) if key in found else result.row(i)
            self.done += 1
            self.tell(RangeProgress(done=self.done, total=self.regions * self.looks))

        self.each(self.look, part, add)
        return found

    def maps(self, part: Bands) -> dict[int, IntensityMap]:
        """Return the maps of the part's channels by their numbers."""
        request, dtype, twice = self.look.request, self.look.source.info.dtype, self.looks == 2
        first = self.merged(part)
        if part.groups > 1 and _groups_seen(first) < part.groups / 2:
            # Too few of the sampled pixels are valid: read the whole image.
            whole = self.look.whole(part.grid.channels)
            self.regions, self.done = self.regions + len(whole) - len(part), self.done - len(part)
            return self.maps(whole)
        together = _together(first)
        self.extremes |= {number: found.extremes for number, found in together.items()}
        own, last = first, together
        if twice:
            second = self.merged(replace(part, bins=self.bins(part, first, together)))
            own = {key: found.within(slice(0, 2)) for key, found in second.items()}
            last = _together({key: found.within(slice(-2, None)) for key, found in second.items()})
        maps = {}
        for number, found in last.items():
            (decided,) = found.maps(request, dtype, together[number] if twice else None)
            if part.groups > 1:
                pairs = [(first[key], own[key] if twice else None) for key in first if key[0] == number]
                error = _standard_error(pairs, decided, request, dtype) * math.sqrt(part.unseen)
                decided = replace(decided, error=(float(error[0]), float(error[1])))
            maps[number] = decided
        return maps

    def bins(
        self, part: Bands, first: Found, together: Mapping[int, Statistics]
    ) -> dict[tuple[int, int], tuple[int, ...]]:
        """Return the bins that the second pass refines: those of each group's percentiles, then those of all."""
        request = self.look.request
        shared = {number: found.bins(request)[0] for number, found in together.items()}
        single = part.groups == 1
        wanted = {
            (n, group): shared[n] if single else found.bins(request)[0] + shared[n]
            for (n, group), found in first.items()
        }
        nothing = (0,) * (2 if single else 4)
        return {
            (channel, group): nothing if (n := self.numbers[channel]) is None else wanted[n, group]
            for channel in range(*part.grid.channels)
            for group in range(part.groups)
        }


def _together(found: Found) -> dict[int, Statistics]:
    """Merge the groups; return statistics by number of the map."""
    merged: dict[int, Statistics] = {}
    for (number, _), part in found.items():
        merged[number] = merged[number] + part if number in merged else part
    return merged


def _groups_seen(found: Found) -> int:
    """Count the groups with a valid pixel, in the channel that has fewest."""
    seen = Counter({number: 0 for number, _ in found})
    seen.update(number for (number, _), part in found.items() if part.valid > 0)
    return min(seen.values(), default=0)


def _standard_error(
    groups: Sequence[tuple[Statistics, Statistics | None]],
    ends: IntensityMap,
    request: RangeRequest,
    dtype: np.dtype[Any],
) -> NDArray[np.float64]:
    """Estimate the standard errors of both percentiles from the groups' two passes; see the module's docstring."""
    weight = np.array([first.valid for first, _ in groups], float)
    looks = [(first, None) if last is None else (last, first) for first, last in groups]
    found = np.stack([last.percentiles(request, dtype, first)[0] for last, first in looks])
    seen = weight > 0
    apart = (weight / weight.sum())[seen, None] * (found[seen] - (ends.lo, ends.hi))
    error: NDArray[np.float64] = np.sqrt(seen.sum() / (seen.sum() - 1) * (apart**2).sum(0))
    return error

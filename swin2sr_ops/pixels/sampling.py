"""Cut an image into regions of whole chunks, to read all or a sample of it out of core."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import overload

import numpy as np

from swin2sr_ops.geometry.axes import AxisOrder, Region
from swin2sr_ops.pixels.statistics import Bins

__all__ = ["Band", "BandGrid", "Bands", "deal", "stratified"]


@dataclass(frozen=True)
class Band:
    """One region to read, with its channels, its group of the sample and its histogram bins."""

    region: Region
    channel: int  # the first of the region's channels
    group: int = 0
    bins: Bins | None = None


@dataclass(frozen=True)
class BandGrid:
    """Some channels of an image, cut into regions that are computed on demand, not stored.

    Attributes
    ----------
    start, stop, step : tuple of int
        Per axis of the image: the interval that is cut, and the length of a region.
    channel : int or None
        Position of the channel axis.
    """

    start: tuple[int, ...]
    stop: tuple[int, ...]
    step: tuple[int, ...]
    channel: int | None

    @classmethod
    def of(
        cls, order: AxisOrder, chunks: Sequence[int], values: int, channels: tuple[int, int], together: int
    ) -> BandGrid:
        """Build regions of whole chunks of about ``values`` values, at least one chunk.

        A chunk is always decoded as a whole, so a region spans whole chunks along all axes.
        Regions grow along X, then along Y. Colours are never split.

        Parameters
        ----------
        order : AxisOrder
        chunks : sequence of int
            Shape of a chunk, the unit of decoding.
        values : int
        channels : (int, int)
            First and last (exclusive) channel; ``(0, 1)`` without a channel axis.
        together : int
            Largest number of channels in a region, even if the chunk has more.
        """
        start, stop = [0] * len(order.shape), list(order.shape)
        step = [max(min(c, n), 1) for c, n in zip(chunks, order.shape, strict=True)]
        if order.colour is not None:
            step[order.colour] = order.colours
        if order.channel is not None:
            start[order.channel], stop[order.channel] = channels
            step[order.channel] = min(step[order.channel], together, channels[1] - channels[0])
        for axis in (order.x, order.y):
            step[axis] = min(step[axis] * max(values // math.prod(step), 1), order.shape[axis])
        return cls(tuple(start), tuple(stop), tuple(step), order.channel)

    @property
    def channels(self) -> tuple[int, int]:
        """First and last (exclusive) channel."""
        return (0, 1) if self.channel is None else (self.start[self.channel], self.stop[self.channel])

    @property
    def counts(self) -> tuple[int, ...]:
        """Number of regions along each axis."""
        return tuple(-(-(b - a) // s) for a, b, s in zip(self.start, self.stop, self.step, strict=True))

    @property
    def count(self) -> int:
        """Number of all regions."""
        return math.prod(self.counts)

    def region(self, i: int) -> Region:
        """Return region number ``i``; the last axis varies fastest."""
        places = np.unravel_index(i, self.counts)
        edges = zip(self.start, self.stop, self.step, (int(p) for p in places), strict=True)
        return tuple(slice(a + p * s, min(a + (p + 1) * s, b)) for a, b, s, p in edges)


@dataclass(frozen=True)
class Bands(Sequence[Band]):
    """The regions of a grid to read: all, or a sample in groups."""

    grid: BandGrid
    chosen: Sequence[int]
    groups: int = 1
    dealt: Sequence[int] | None = None  # the group of each
    bins: Mapping[tuple[int, int], tuple[int, ...]] | None = None  # by channel and group, for a second pass

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def unseen(self) -> float:
        """Share of the grid that is not read."""
        return 1 - len(self) / self.grid.count

    @overload
    def __getitem__(self, i: int) -> Band: ...
    @overload
    def __getitem__(self, i: slice) -> list[Band]: ...
    def __getitem__(self, i: int | slice) -> Band | list[Band]:
        if isinstance(i, slice):
            return [self[j] for j in range(*i.indices(len(self)))]
        region = self.grid.region(self.chosen[i])
        channels = slice(0, 1) if self.grid.channel is None else region[self.grid.channel]
        group = 0 if self.dealt is None else self.dealt[i]
        bins = self.bins
        wanted = None if bins is None else tuple(bins[c, group] for c in range(channels.start, channels.stop))
        return Band(region, channels.start, group, wanted)


def stratified(count: int, total: int) -> tuple[int, ...]:
    """Draw ``count`` of the numbers below ``total``, one at random from each of ``count`` equal intervals.

    The sample so covers all planes and all heights. It is always the same, since `random.Random.random`
    gives the same sequence in all versions of Python.
    """
    chance = Random(0)  # noqa: S311  # a sample, not a secret
    edges = [i * total // count for i in range(count + 1)]
    return tuple(lo + int(chance.random() * (hi - lo)) for lo, hi in pairwise(edges))


def deal(count: int, groups: int) -> tuple[int, ...]:
    """Assign a group to ``count`` items; each run of ``groups`` items has every group once, in a fixed shuffle."""
    chance = Random(1)  # noqa: S311
    dealt: list[int] = []
    while len(dealt) < count:
        dealt += sorted(range(groups), key=lambda _: chance.random())
    return tuple(dealt[:count])

"""An image cut into regions of whole chunks, to look at all or some of it out of core."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import overload

import numpy as np

from swin2sr_ops.geometry.axes import AxisOrder
from swin2sr_ops.io.base import Region
from swin2sr_ops.pixels.statistics import Bins

__all__ = ["Band", "BandGrid", "Bands", "deal", "spread"]


@dataclass(frozen=True)
class Band:
    """One look: where, at which channels, for which group of a sample, and into which bins."""

    region: Region
    channel: int  # the first of the region's channels
    group: int = 0
    bins: Bins | None = None


@dataclass(frozen=True)
class BandGrid:
    """Some channels of an image, cut into regions; none is kept, each is made when it is asked for.

    Attributes
    ----------
    start, stop, step : tuple of int
        Per axis of the image: what is cut, and how long a region is.
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
        """Regions of whole chunks of about ``values`` values, at least one chunk.

        A chunk is decoded as a whole, whatever is wanted of it: so regions go through its thickness
        along all axes. They grow along X, then along Y. Colours are never parted.

        Parameters
        ----------
        order : AxisOrder
        chunks : sequence of int
            What is decoded together.
        values : int
        channels : (int, int)
            First and last (exclusive) channel; ``(0, 1)`` where there are none.
        together : int
            At most so many channels in a region, though the chunk may have more.
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
        """Regions along each axis."""
        return tuple(-(-(b - a) // s) for a, b, s in zip(self.start, self.stop, self.step, strict=True))

    @property
    def count(self) -> int:
        """All regions."""
        return math.prod(self.counts)

    def region(self, i: int) -> Region:
        """Region number ``i``, the last axis running first."""
        places = np.unravel_index(i, self.counts)
        edges = zip(self.start, self.stop, self.step, (int(p) for p in places), strict=True)
        return tuple(slice(a + p * s, min(a + (p + 1) * s, b)) for a, b, s, p in edges)


@dataclass(frozen=True)
class Bands(Sequence[Band]):
    """Regions of a grid that are looked at: all, or a sample in groups."""

    grid: BandGrid
    chosen: Sequence[int]
    groups: int = 1
    dealt: Sequence[int] | None = None  # the group of each
    bins: Mapping[tuple[int, int], tuple[int, ...]] | None = None  # by channel and group, for a second look

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def unseen(self) -> float:
        """Share of the grid that is not looked at."""
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


def spread(count: int, total: int) -> tuple[int, ...]:
    """``count`` of the numbers below ``total``, evenly spread: one from anywhere in each of ``count`` equal stretches.

    All planes and all heights have their share. The same every time: `random.Random.random` is the
    same in all versions of Python.
    """
    chance = Random(0)  # noqa: S311  # a sample, not a secret
    edges = [i * total // count for i in range(count + 1)]
    return tuple(lo + int(chance.random() * (hi - lo)) for lo, hi in pairwise(edges))


def deal(count: int, groups: int) -> tuple[int, ...]:
    """A group for each of ``count`` in a row: every ``groups`` of them have each once, always shuffled alike."""
    chance = Random(1)  # noqa: S311
    dealt: list[int] = []
    while len(dealt) < count:
        dealt += sorted(range(groups), key=lambda _: chance.random())
    return tuple(dealt[:count])

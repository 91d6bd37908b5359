"""Cells: the smallest boxes of input that make whole output chunks; and which of them one tile restores together."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

from swin2sr_ops.geometry.tiles import LARGEST_TILE
from swin2sr_ops.io.base import Region
from swin2sr_ops.run.job import Job, Piece

__all__ = ["Box", "Cell", "Layer"]


class Cell(NamedTuple):
    """A box of input pixels of one plane whose restored pixels are whole write units of one level."""

    level: int
    plane: tuple[int, ...]
    row: int
    column: int


class Box(NamedTuple):
    """Neighbouring cells of one plane that one tile restores: rows and columns of cells, start and stop."""

    level: int
    plane: tuple[int, ...]
    rows: tuple[int, int]
    columns: tuple[int, int]

    def cells(self) -> Iterator[Cell]:
        """List the cells in the box."""
        for row, column in product(range(*self.rows), range(*self.columns)):
            yield Cell(self.level, self.plane, row, column)


@dataclass(frozen=True)
class Layer:
    """Restore one level of the output: the image itself, or a smaller copy of it.

    Attributes
    ----------
    level : int
        Of the output.
    job : Job
        Restores the source, or its smaller copy.
    shape : tuple of int
        Of the level, in the order of the image's axes: a copy that was rounded up may give a row or column too many.
    cell : (int, int)
        Rows and columns of a cell, in input pixels of ``job``.
    largest : int
        Most input pixels that a tile owns, unless a cell has more.
    """

    level: int
    job: Job
    shape: tuple[int, ...]
    cell: tuple[int, int]
    largest: int

    @classmethod
    def of(cls, level: int, job: Job, shape: tuple[int, ...], unit: tuple[int, int], *, fixed: bool) -> Layer:
        """Cut a level into cells.

        Parameters
        ----------
        level, job, shape
            See the class.
        unit : (int, int)
            Write unit of the level along Y and X, in output pixels.
        fixed : bool
            Whether the result depends on the tiles, so that they must be those of a run.
        """
        scale, tile = job.plan.spec.scale, job.plan.tile
        if fixed:
            return cls(level, job, shape, tile, 0)
        cell = unit[0] // math.gcd(unit[0], scale), unit[1] // math.gcd(unit[1], scale)
        # The plan has counted the memory of its tile.
        return cls(level, job, shape, cell, min(tile[0] * tile[1], LARGEST_TILE * LARGEST_TILE))

    @property
    def scale(self) -> int:
        """Enlargement."""
        return self.job.plan.spec.scale

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of the input."""
        order = self.job.order
        return order.shape[order.y], order.shape[order.x]

    def cells_of(self, region: Region) -> set[Cell]:
        """Find the cells whose restored pixels cover ``region`` of the level (in the image's axes)."""
        order = self.job.order
        planes = product(*(range(region[a].start, region[a].stop) for a in order.planes))
        rows, columns = (
            range(part.start // (n * self.scale), -(-part.stop // (n * self.scale)))
            for part, n in ((region[order.y], self.cell[0]), (region[order.x], self.cell[1]))
        )
        return {Cell(self.level, self._leader(p), y, x) for p in planes for y in rows for x in columns}

    def _leader(self, plane: tuple[int, ...]) -> tuple[int, ...]:
        """The plane whose piece restores ``plane``: the first band of a group that goes together."""
        order = self.job.order
        if order.channel is None or self.job.parts[0].groups is None:
            return plane
        at = order.planes.index(order.channel)
        group = next(g for part in self.job.parts for g in part.groups or () if plane[at] in g)
        return (*plane[:at], group[0], *plane[at + 1 :])

    def piece(self, box: Box) -> Piece:
        """Return what the run's own code restores for ``box``."""
        order = self.job.order
        chosen = {a: slice(i, i + 1) for a, i in zip(order.planes, box.plane, strict=True)}
        rows, columns = (
            (a * n, min(b * n, size))
            for (a, b), n, size in zip((box.rows, box.columns), self.cell, self.size, strict=True)
        )
        return self.job.piece_of(chosen, rows, columns)

    def best_box(self, first: Cell, waiting: Collection[Cell]) -> Box:
        """Choose the cells around ``first`` that one tile restores: those that cost least for each that waits.

        What surrounds a tile is read and computed for nothing, so a tile over several neighbours that wait costs
        less than one for each.
        """
        most = [max(LARGEST_TILE // n, 1) if self.largest else 1 for n in self.cell]
        wanted = {
            (c.row - first.row, c.column - first.column)
            for c in waiting
            if c[:2] == first[:2] and abs(c.row - first.row) < most[0] and abs(c.column - first.column) < most[1]
        } | {(0, 0)}
        if len(wanted) == 1:
            return Box(first.level, first.plane, (first.row, first.row + 1), (first.column, first.column + 1))
        most_cells = max(self.largest // (self.cell[0] * self.cell[1]), 1)
        best = min(
            _boxes(wanted, most, most_cells), key=lambda box: (self._cost(box, first) / _count(wanted, box), -box[0])
        )
        top, bottom, left, right = best
        return Box(
            first.level,
            first.plane,
            (first.row + top, first.row + bottom),
            (first.column + left, first.column + right),
        )

    def _cost(self, box: tuple[int, int, int, int], first: Cell) -> int:
        """Input pixels that a tile reads."""
        halo = self.job.plan.halo_pixels
        sides = []
        for a, b, n, size, at in (
            (box[0], box[1], self.cell[0], self.size[0], first.row),
            (box[2], box[3], self.cell[1], self.size[1], first.column),
        ):
            sides.append(min((at + b) * n + halo, size) - max((at + a) * n - halo, 0))
        return sides[0] * sides[1]


def _boxes(wanted: Iterable[tuple[int, int]], most: list[int], most_cells: int) -> Iterator[tuple[int, int, int, int]]:
    """Boxes around the origin, bounded by wanted cells: top, bottom, left, right."""
    ys, xs = sorted({y for y, _ in wanted}), sorted({x for _, x in wanted})
    for top, bottom in product((y for y in ys if y <= 0), (y + 1 for y in ys if y >= 0)):
        if bottom - top > most[0]:
            continue
        for left, right in product((x for x in xs if x <= 0), (x + 1 for x in xs if x >= 0)):
            if right - left <= most[1] and (bottom - top) * (right - left) <= most_cells:
                yield top, bottom, left, right


def _count(wanted: Iterable[tuple[int, int]], box: tuple[int, int, int, int]) -> int:
    return sum(box[0] <= y < box[1] and box[2] <= x < box[3] for y, x in wanted)

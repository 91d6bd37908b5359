"""Gather cells from a tile's planes and scatter them back: one at a time, or many in one kernel.

On a CPU a cell is a slice of a plane, and cores work on different cells. On an accelerator one cell is
too little work for a kernel, so a group of fixed size is gathered, computed and stored at once. An incomplete group
repeats its last cell, whose copies are not stored, so every kernel still has one shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from swin2sr_ops.geometry.plan import CELL_WINDOWS
from swin2sr_ops.nets.heads import Patch

__all__ = ["Cells", "Grid", "GroupGrid", "grouped"]

Place = tuple[int, int]
Borders = tuple[tuple[int, int], tuple[int, int]]
Cuts = tuple[int, int, int, int]


@dataclass(frozen=True)
class Cells:
    """Cells that are computed together.

    ``places`` are their first pixels, row and column relative to the image's first pixel; only the first
    ``kept`` of them are stored.
    """

    places: tuple[Place, ...]
    side: int
    kept: int
    borders: Borders

    @cached_property
    def cuts(self) -> list[Cuts]:
        """Number of pixels of each cell outside the image: top, bottom, left, right."""
        (top, bottom), (left, right) = self.borders
        end = self.side
        return [
            (max(top - y, 0), max(y + end - bottom, 0), max(left - x, 0), max(x + end - right, 0))
            for y, x in self.places
        ]


def grouped(places: Sequence[Place], side: int, borders: Borders, size: int) -> list[Cells]:
    """Group all cells, ``size`` at a time; cells that extend beyond the image are separate, since they need masks."""
    if size == 1:
        return [Cells((place,), side, 1, borders) for place in places]
    reaching = {p: any(Cells((p,), side, 1, borders).cuts[0]) for p in places}
    found = []
    for kind in (False, True):
        same = [p for p in places if reaching[p] is kind]
        for first in range(0, len(same), size):
            group = same[first : first + size]
            found.append(Cells((*group, *group[-1:] * (size - len(group))), side, len(group), borders))
    return found


class Grid:
    """Access planes ``(H, W, C)`` that start at ``origin``, one cell at a time.

    Parameters
    ----------
    origin : (int, int)
        Row and column of the planes' first pixel, relative to the image's first pixel.
    window : int
        Side of a window in pixels.
    """

    def __init__(self, origin: Place, window: int) -> None:
        self.origin, self.window = origin, window

    def patch(self, plane: Tensor, cells: Cells, reach: int) -> Patch:
        """Return a view of a cell's pixels and of ``reach`` more on every side."""
        ((y, x),) = cells.places
        top, left = y - reach - self.origin[0], x - reach - self.origin[1]
        length = cells.side + 2 * reach
        pixels = plane[top : top + length, left : left + length]
        return Patch(pixels.permute(2, 0, 1).unsqueeze(0), ((y - reach, x - reach),))

    def put(self, plane: Tensor, cells: Cells, values: Tensor, *, add: bool = False) -> None:
        """Store or add the part of ``values`` ``(1, side, side, C)`` inside the image; outside stays zero."""
        ((y, x),), (cut,), side = cells.places, cells.cuts, cells.side
        rows, columns = slice(cut[0], side - cut[1]), slice(cut[2], side - cut[3])
        top, left = y - self.origin[0], x - self.origin[1]
        target = plane[top + rows.start : top + rows.stop, left + columns.start : left + columns.stop]
        if add:
            target += values[0, rows, columns]
        else:
            target.copy_(values[0, rows, columns])

    def windows(self, plane: Tensor, cells: Cells) -> Tensor:
        """Return the cell's windows, ``(16, P, C)``."""
        w, n = self.window, CELL_WINDOWS
        return self._cell(plane, cells).view(n, w, n, w, -1).transpose(1, 2).reshape(n * n, w * w, -1)

    def put_windows(self, plane: Tensor, cells: Cells, tokens: Tensor) -> None:
        """Store windows ``(16, P, C)`` in their places, except pixels outside the image."""
        w, n = self.window, CELL_WINDOWS
        result = tokens.view(n, n, w, w, -1).transpose(1, 2)
        if any(cells.cuts[0]):
            self.put(plane, cells, result.reshape(1, cells.side, cells.side, -1))
        else:
            self._cell(plane, cells).view(n, w, n, w, -1).copy_(result)

    def _cell(self, plane: Tensor, cells: Cells) -> Tensor:
        ((y, x),) = cells.places
        top, left = y - self.origin[0], x - self.origin[1]
        return plane[top : top + cells.side, left : left + cells.side]


class GroupGrid(Grid):
    """Access groups of cells: one gather and one scatter by index, on planes of ``width`` columns.

    Parameters
    ----------
    width : int
        Columns of every plane.
    device : torch.device
        Device of the planes.
    """

    def __init__(self, origin: Place, window: int, width: int, device: torch.device) -> None:
        super().__init__(origin, window)
        self.width, self.device = width, device
        self._known: dict[tuple[Place, ...], Tensor] = {}  # layers share most of their groups

    def patch(self, plane: Tensor, cells: Cells, reach: int) -> Patch:
        length = cells.side + 2 * reach
        index = self._first(cells, reach)[:, None] + self._square(length).flatten()
        pixels = plane.view(-1, plane.shape[-1]).index_select(0, index.flatten())
        data = pixels.view(len(cells.places), length, length, -1).permute(0, 3, 1, 2)
        return Patch(data, tuple((y - reach, x - reach) for y, x in cells.places))

    def put(self, plane: Tensor, cells: Cells, values: Tensor, *, add: bool = False) -> None:
        self._store(
            plane, cells, values.reshape(len(values), -1, values.shape[-1]), self._square(cells.side).flatten(), add
        )

    def windows(self, plane: Tensor, cells: Cells) -> Tensor:
        index = self._first(cells)[:, None] + self._in_windows
        pixels = plane.view(-1, plane.shape[-1]).index_select(0, index.flatten())
        return pixels.view(-1, self.window**2, plane.shape[-1])

    def put_windows(self, plane: Tensor, cells: Cells, tokens: Tensor) -> None:
        self._store(plane, cells, tokens.reshape(len(cells.places), -1, tokens.shape[-1]), self._in_windows, False)

    def _store(self, plane: Tensor, cells: Cells, values: Tensor, offsets: Tensor, add: bool) -> None:
        """Store ``values`` ``(G, pixels, C)``; ``offsets`` are the pixels' positions relative to each cell's first."""
        index = (self._first(cells)[: cells.kept, None] + offsets).flatten()
        values = values[: cells.kept].reshape(-1, values.shape[-1]).to(plane.dtype)
        if any(map(any, cells.cuts)):
            (top, bottom), (left, right) = cells.borders
            y, x = index // self.width + self.origin[0], index % self.width + self.origin[1]
            inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
            values = values.masked_fill(~inside[:, None], 0)  # planes stay zero outside the image
        flat = plane.view(-1, plane.shape[-1])
        if add:
            flat.index_add_(0, index, values)  # each pixel occurs once, so the order does not matter
        else:
            flat.index_copy_(0, index, values)

    def _first(self, cells: Cells, reach: int = 0) -> Tensor:
        """Return the index of the first pixel of each cell, ``(G,)``."""
        top, left = self.origin
        if cells.places not in self._known:  # each copy to the device may have to wait for it
            first = [(y - top) * self.width + x - left for y, x in cells.places]
            self._known[cells.places] = torch.tensor(first, device=self.device)
        return self._known[cells.places] - reach * (self.width + 1)

    def _square(self, side: int) -> Tensor:
        steps = torch.arange(side, device=self.device)
        return steps[:, None] * self.width + steps

    @cached_property
    def _in_windows(self) -> Tensor:
        """Offsets of a cell's pixels, window by window, ``(16 P,)``."""
        w, n = self.window, CELL_WINDOWS
        return self._square(n * w).view(n, w, n, w).transpose(1, 2).flatten()

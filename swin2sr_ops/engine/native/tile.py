"""One tile while the kernels compute it: its planes, and what each step of a network does to them.

A window is computed alike wherever it lies, and so is a pixel of a convolution: the result does not depend on the
tiles, and only what later steps read is computed. Cores work on different rows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.native.heads import chain, stored
from swin2sr_ops.engine.native.network import NativeNetwork
from swin2sr_ops.engine.native.planes import Plane, Range, address, inside
from swin2sr_ops.engine.native.rows import Layer, Normal, convolve, normalise
from swin2sr_ops.engine.native.weights import Conv, Norm
from swin2sr_ops.engine.parallel import for_each
from swin2sr_ops.engine.row_cache import CachedRows
from swin2sr_ops.geometry.plan import Tile
from swin2sr_ops.geometry.span import whole_windows
from swin2sr_ops.geometry.steps import Step

__all__ = ["NativeTile"]

#: Rows of pixels for one call of a kernel, where it keeps nothing from one row to the next.
_LINES = 16
#: Columns and rows of a part of a head that one thread computes, and its rows at a time: for one convolution, for more.
_PARTS = {True: (2**30, 64, 64), False: (256, 128, 8)}


class NativeTile:
    """The planes of one tile; one method per kind of step.

    ``above`` is what the tile above has left, ``below`` what this one leaves.
    """

    def __init__(
        self,
        network: NativeNetwork,
        image: NDArray[np.generic],
        tile: Tile,
        pool: ThreadPoolExecutor | None,
        above: CachedRows | None = None,
        below: CachedRows | None = None,
    ) -> None:
        self._network, self._spec, self._kernels = network, network.spec, network.kernels
        self._tile, self._pool, self._above, self._below = tile, pool, above, below
        self._borders = tile.y.borders, tile.x.borders
        spec, start = network.spec, tile.y.read[0]
        first = start if above is None else max(above.lowest(spec), start)
        margin = max(spec.window, 8)  # windows and convolutions reach out of what is read
        self._top, self._left = first - margin, tile.x.read[0] - margin
        self._shape = tile.y.read[1] - self._top + margin, tile.x.read[1] - self._left + margin
        self.image = self._plane(spec.inputs)  # zero outside: the padding of the first convolution
        part = self.image.rows(first, tile.y.read[1])[:, margin:-margin]
        np.subtract(
            image[:, first - start :].transpose(1, 2, 0), network.mean, out=part, dtype=np.float32, casting="same_kind"
        )
        part *= np.float32(spec.value_range)
        self.plane = self._plane(spec.dim)
        self.first: Plane | None = None  # what a trunk begins with, and at its end its result
        self.residual: Plane | None = None  # within a stage, what it began with
        self.before_plane: Plane | None = None
        self.result: NDArray[np.float32] | None = None
        self._source = self.image  # what the next `embed` reads
        self._stage = ""

    def _plane(self, channels: int) -> Plane:
        return Plane(np.zeros((*self._shape, channels), np.float32), self._top, self._left)

    # --- the tiles above and below -------------------------------------------------------------

    def join(self, index: int) -> None:
        """Before a step: put what the tile above has left over what it reads; keep what the one below will read."""
        if self._above is not None:
            for name, part in self._above.parts[index].items():
                self._rows_of(name, part)[:] = self._above.rows.pop((index, name))
        if self._below is not None:
            for name, part in self._below.parts[index].items():
                self._below.rows[index, name] = self._rows_of(name, part).copy()

    def _rows_of(self, name: str, part: Range) -> NDArray[np.float32]:
        plane: Plane = getattr(self, name)
        return plane.rows(*part)

    # --- steps -------------------------------------------------------------------------------

    def embed(self, step: Step, index: int) -> None:
        """First convolution and per-pixel embedding; starts a trunk."""
        self.first = self.first or self._plane(self._spec.dim)
        conv, embed, norm = self._network.entrances[step.path]
        first = self.first

        def work(rows: Range, columns: Range) -> None:
            self._convolve(conv, self._source, first, rows, columns)
            if embed is not None:
                self._convolve(embed, first, self.plane, rows, columns)
            elif norm is None:
                _part(self.plane, rows, columns)[:] = _part(first, rows, columns)
            if norm is not None:
                source = first if embed is None else self.plane
                normalise(self._kernels, norm, source, self.plane, rows, columns, self._borders)

        self._by_rows(index, work)
        self._stage = ""

    def window(self, step: Step, index: int) -> None:
        """A Swin block, in place, a row of windows at a time."""
        self._keep(step)
        w, offset = self._spec.window, step.offset(self._spec.window)
        rows, (x, behind) = (whole_windows(part, w, offset) for part in self._wanted(index))
        block, plane, across = self._network.blocks[step.path], self.plane, (behind - x) // w

        def work(y: int) -> None:
            box = inside(self._borders, y, x)
            with self._network.scratch.borrowed() as scratch:
                self._kernels.swin_block(
                    ctypes.byref(block), plane.at(y, x), plane.stride, 1, across, ctypes.byref(box), address(scratch)
                )

        for_each(work, range(*rows, w), self._pool)

    def _keep(self, step: Step) -> None:
        """Keep the input of a stage, which is added at its end."""
        stage = step.path.rsplit(".residual_group", 1)[0]
        if stage == self._stage:
            return
        if self.residual is None:
            self.residual = Plane(np.empty_like(self.plane.data), self._top, self._left)
        np.copyto(self.residual.data, self.plane.data)
        self._stage = stage

    def merge(self, step: Step, index: int) -> None:
        """The end of a stage: its convolution, embedding, and its input added."""
        assert self.residual is not None
        self._end(step, index, self.residual)
        self.plane, self.residual = self.residual, self.plane  # the result lies where the beginning was kept
        self._stage = ""

    def tail(self, step: Step, index: int) -> None:
        """The end of a trunk: norm, convolution, and the first features added (to them, in place)."""
        assert self.first is not None
        self.residual = None
        self._end(step, index, self.first)

    def _end(self, step: Step, index: int, target: Plane) -> None:
        """Add to ``target`` what a stage, or a trunk, makes of the plane."""
        stage = self._network.stages.get(step.path)
        if stage is None:
            self._longer_end(step, index, target)
            return

        def work(rows: Range, columns: Range) -> None:
            (y, bottom), (x, right), plane = rows, columns, self.plane
            box = inside(self._borders, y, x)
            with self._network.scratch.borrowed() as scratch:
                self._kernels.swin_stage(
                    ctypes.byref(stage), plane.at(y, x), plane.stride, target.at(y, x), target.stride, bottom - y,
                    right - x, ctypes.byref(box), address(scratch),
                )  # fmt: skip

        self._by_rows(index, work)

    def _longer_end(self, step: Step, index: int, target: Plane) -> None:
        """Run the bottleneck of the largest models: several convolutions; the last one adds to ``target``."""
        norm, convs = self._network.ends[step.path]
        *some, last = convs

        def work(rows: Range, columns: Range) -> None:
            source = self._normal(norm) if norm is not None else stored(self.plane)
            reach = last.reach
            around = (rows[0] - reach, rows[1] + reach)
            made = chain(self._kernels, self._borders, source, some)((columns[0] - reach, columns[1] + reach))
            self._convolve(last, made.upto(*around), target, rows, columns, target)

        self._by_rows(index, work, 4 * _LINES)

    def _normal(self, norm: Norm) -> Callable[[Range], Layer]:
        return lambda columns: Normal(self._kernels, self._borders, norm, columns, self.plane)

    def before(self, step: Step, index: int) -> None:
        """The features from which both branches of the high-frequency head start."""
        assert self.first is not None
        first, plane = self.first, self._plane(self._spec.num_feat)
        conv = self._network.before
        self.before_plane = self._source = plane
        self._by_rows(index, lambda rows, columns: self._convolve(conv, first, plane, rows, columns))

    def head(self, step: Step, index: int) -> None:
        """Reconstruct, and map back to 0..1; the stages' planes are free by now."""
        del self.plane
        assert self.first is not None
        tile, s, head = self._tile, self._spec.scale, self._network.head
        fine, shuffle = s // head.shuffle, head.shuffle
        result = self.result = np.empty((self._spec.channels, *(n * s for n in tile.shape)), np.float32)
        first, wide, (width, height, lines) = self.first, s * tile.shape[1], _PARTS[head.light]
        image = self.image
        if self._spec.planes > 1 and self._spec.upsampler == "":  # it adds the plane itself, not its neighbours
            image = Plane(np.ascontiguousarray(image.data[..., : self._spec.channels]), self._top, self._left)
        mean, area = self._network.mean, result[0].size

        def work(part: tuple[Range, Range]) -> None:
            (y, bottom), (x, right) = part
            columns = x * fine, right * fine
            layer = head.result(self._borders, first, image, self.before_plane, columns)
            for row in range(y, bottom, lines):
                last = min(row + lines, bottom)
                found = layer.upto(row * fine, last * fine)
                target = address(result) + 4 * ((row - tile.y.start) * s * wide + (x - tile.x.start) * s)
                self._kernels.swin_finish(
                    found.at(row * fine, x * fine), found.stride, (last - row) * fine, (right - x) * fine,
                    self._spec.channels, shuffle, self._spec.value_range, address(mean), target, wide, area,
                )  # fmt: skip

        rows, across = _cut((tile.y.start, tile.y.stop), height), _cut((tile.x.start, tile.x.stop), width)
        for_each(work, [(y, x) for x in across for y in rows], self._pool)

    # --- rows ----------------------------------------------------------------------------------

    def _convolve(
        self, conv: Conv, source: Plane, target: Plane, rows: Range, columns: Range, added: Plane | None = None
    ) -> None:
        convolve(self._kernels, conv, source, target, rows, columns, self._borders, added=added)

    def _by_rows(self, index: int, work: Callable[[Range, Range], None], lines: int = _LINES) -> None:
        """Call ``work`` for all pixels that later steps read, some rows at a time."""
        rows, columns = self._wanted(index)
        for_each(lambda part: work(part, columns), _cut(rows, lines), self._pool)

    def _wanted(self, index: int) -> tuple[Range, Range]:
        """Return the rows and columns of the image that later steps read, but rows that a tile above has computed."""
        y, x = self._tile.y.needed[index], self._tile.x.needed[index]
        if self._above is not None:
            y = min(self._above.ends[index], y[1]), y[1]
        rows, columns = self._borders
        return (max(y[0], rows[0]), min(y[1], rows[1])), (max(x[0], columns[0]), min(x[1], columns[1]))


def _cut(part: Range, length: int) -> list[Range]:
    return [(first, min(first + length, part[1])) for first in range(*part, length)]


def _part(plane: Plane, rows: Range, columns: Range) -> NDArray[np.float32]:
    return plane.rows(*rows)[:, columns[0] - plane.left : columns[1] - plane.left]

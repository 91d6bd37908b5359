"""Run a tile whose Swin blocks, and possibly convolutions, run in own kernels directly on the feature plane.

The kernels compute a window, or a pixel of a convolution, in the same way at every position. So the result does not
depend on tiles without any cells, and only what later steps read is computed. Cores work on different lines.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor

from swin2sr_ops.engine.native.kernels import Box
from swin2sr_ops.engine.plane_run import PlaneRun
from swin2sr_ops.engine.threads import for_each
from swin2sr_ops.geometry.span import whole_windows
from swin2sr_ops.geometry.steps import Step, network_steps

__all__ = ["Box", "KernelRun", "Place", "Steps"]

Range = tuple[int, int]


class Place(NamedTuple):
    """Region on which a kernel works.

    Attributes
    ----------
    rows, columns : int
        Number of rows and columns to compute.
    inside : Box
        Rows and columns of the image, relative to the region's first pixel.
    """

    rows: int
    columns: int
    inside: Box


class Steps(ABC):
    """Kernels with a network's weights."""

    #: Lines of pixels per call of all kernels but `windows`.
    lines = 16

    def rows(self, across: int) -> int:
        """Return how many rows of ``across`` windows each one call of `windows` processes."""
        return 1

    @abstractmethod
    def windows(self, path: str, plane: Tensor, down: int, across: int, inside: Box) -> None:
        """Run the Swin block at ``path`` on ``down`` x ``across`` windows, in place.

        Parameters
        ----------
        path : str
            Path of the block in the network.
        plane : Tensor
            ``(rows, columns, C)``, a view that starts at the first window's first pixel.
        down, across : int
            Windows along Y and X, each with at least one pixel of the image.
        inside : Box
            Rows and columns of the image, relative to the view: pixels outside are neither read nor written.
        """

    def has(self, path: str) -> bool:
        """Return True if the step at ``path``, which is not a block, has a kernel here; else torch computes it."""
        return False

    def again(self, path: str) -> bool:
        """Return True if `end` of the trunk at ``path`` recomputes the trunk's first features, and needs its source."""
        return False

    def begin(self, path: str, place: Place, source: Tensor, plane: Tensor, first: Tensor | None = None) -> None:
        """Compute a trunk's first convolution into ``first``, if given, and its embedding into ``plane``.

        The planes are views ``(rows, columns, C)`` that start at the first pixel of ``place``; one more pixel on each
        side is read.
        """
        raise NotImplementedError(path)

    def end(self, path: str, place: Place, plane: Tensor, target: Tensor, source: Tensor | None = None) -> None:
        """Add the end of a stage, or of a trunk, computed from ``plane``, to ``target``; views as in `begin`.

        With a trunk's ``source``, it is added to the recomputed first convolution, and ``target`` is overwritten.
        """
        raise NotImplementedError(path)

    def head(self, path: str, place: Place, source: Tensor, image: Tensor, target: Tensor) -> None:
        """Compute the result ``(C, rows s, columns s)`` from features and the network's input, views as in `begin`."""
        raise NotImplementedError(path)


class KernelRun(PlaneRun):
    """Like `PlaneRun`; of its steps, those that ``steps`` has run there."""

    def __init__(self, steps: Steps, *args: Any) -> None:
        super().__init__(*args)
        self.steps = steps

    def window(self, step: Step, index: int) -> None:
        self.keep(step)
        w, offset = self.spec.window, step.offset(self.spec.window)
        rows, (x, behind) = (whole_windows(part, w, offset) for part in self._wanted(index))
        across = (behind - x) // w
        high = self.steps.rows(across) * w

        def work(y: int) -> None:
            down = min(high, rows[1] - y) // w
            self.steps.windows(step.path, self._from(self.plane, y, x), down, across, self._image(y, x))

        for_each(work, range(*rows, high), self.pool)

    def embed(self, step: Step, index: int) -> None:
        if not self.steps.has(step.path):
            super().embed(step, index)
            return
        kept = () if self._made_again(index) else (self.first,)
        self._lines(index, partial(self.steps.begin, step.path), self.source, self.plane, *kept)
        self._stage = ""

    def merge(self, step: Step, index: int) -> None:
        if not self.steps.has(step.path):
            super().merge(step, index)
            return
        self._lines(index, partial(self.steps.end, step.path), self.plane, self.begun)
        self.merged()

    def tail(self, step: Step, index: int) -> None:
        if not self.steps.has(step.path):
            super().tail(step, index)
            return
        self.residual = None
        source = (self.source,) if self._made_again(index) else ()
        self._lines(index, partial(self.steps.end, step.path), self.plane, self.first, *source)

    def reconstruct(self, step: Step, index: int) -> None:
        if not self.steps.has(step.path):
            super().reconstruct(step, index)
            return
        (y, x), (rows, columns), scale = (self.tile.y.start, self.tile.x.start), self.tile.shape, self.spec.scale
        result = self.results["image"] = self.image.new_empty(self.spec.channels, rows * scale, columns * scale)
        features, image = (self._from(plane, y, x) for plane in (self.first, self.image))
        self.steps.head(step.path, Place(rows, columns, self._image(y, x)), features, image, result)

    def _made_again(self, index: int) -> bool:
        """Return True if the end of this step's trunk recomputes its first features, so that they are not stored."""
        return self.steps.again(next(s.path for s in network_steps(self.spec)[index:] if s.kind == "tail"))

    def _lines(self, index: int, kernel: Callable[..., None], *planes: Tensor) -> None:
        """Call ``kernel`` for all pixels that later layers read, some lines at a time."""
        rows, (x, behind) = self._wanted(index)
        lines = self.steps.lines

        def work(y: int) -> None:
            place = Place(min(lines, rows[1] - y), behind - x, self._image(y, x))
            kernel(place, *(self._from(plane, y, x) for plane in planes))

        for_each(work, range(*rows, lines), self.pool)

    def _wanted(self, index: int) -> tuple[Range, Range]:
        """Return the rows and columns of the image that later steps read."""
        y, x = self.rows(index), self.tile.x.needed[index]
        rows, columns = self.ops.borders
        return (max(y[0], rows[0]), min(y[1], rows[1])), (max(x[0], columns[0]), min(x[1], columns[1]))

    def _from(self, plane: Tensor, y: int, x: int) -> Tensor:
        """Return the part of the plane that starts at pixel ``(y, x)`` of the image."""
        return plane[y - self.y.origin :, x - self.x.origin :]

    def _image(self, y: int, x: int) -> Box:
        """Return the rows and columns of the image relative to ``(y, x)``."""
        (top, bottom), (left, right) = self.ops.borders
        return Box(top - y, bottom - y, left - x, right - x)

"""A tile whose Swin blocks and ends of stages run in the kernels, on the feature plane itself.

A window is computed alike wherever it lies, and so is a pixel of a convolution: no cells are needed for the result
not to depend on the tiles, and only what later steps look at is computed. Cores work on different lines.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from swin2sr_ops.layers import Step
from swin2sr_ops.nets.native.steps import Box, NativeSteps
from swin2sr_ops.nets.work import TileWork
from swin2sr_ops.nets.workers import for_each

__all__ = ["NativeSteps", "NativeWork"]

Range = tuple[int, int]

#: Lines of pixels that a core convolves in one go.
_LINES = 16


class NativeWork(TileWork):
    """Like `TileWork`; of its steps, those that `NativeSteps` has run there."""

    def __init__(self, steps: NativeSteps, *args: Any) -> None:
        super().__init__(*args)
        self.steps = steps

    def window(self, step: Step, index: int) -> None:
        self.keep(step)
        w, offset = self.spec.window, step.offset(self.spec.window)
        rows, columns = (_windows(part, w, offset) for part in self._wanted(index))

        def work(y: int) -> None:
            x = columns[0]
            self.steps.windows(step.path, self._from(self.plane, y, x), 1, (columns[1] - x) // w, self._image(y, x))

        for_each(work, range(*rows, w), self.pool)

    def merge(self, step: Step, index: int) -> None:
        if not self.steps.ends(step.path):
            super().merge(step, index)
            return
        self._end(step, index, self.residual)
        self.merged()

    def tail(self, step: Step, index: int) -> None:
        if not self.steps.ends(step.path):
            super().tail(step, index)
            return
        self._end(step, index, self.first)

    def _end(self, step: Step, index: int, target: Tensor) -> None:
        rows, (x, behind) = self._wanted(index)

        def work(y: int) -> None:
            source, result = self._from(self.plane, y, x), self._from(target, y, x)
            self.steps.end(step.path, source, result, min(_LINES, rows[1] - y), behind - x, self._image(y, x))

        for_each(work, range(*rows, _LINES), self.pool)

    def _wanted(self, index: int) -> tuple[Range, Range]:
        """Rows and columns of the image that later steps look at."""
        y, x = (span.needed[index] for span in (self.tile.y, self.tile.x))
        rows, columns = self.ops.borders
        return (max(y[0], rows[0]), min(y[1], rows[1])), (max(x[0], columns[0]), min(x[1], columns[1]))

    def _from(self, plane: Tensor, y: int, x: int) -> Tensor:
        """The plane from pixel ``(y, x)`` of the image on."""
        return plane[y - self.y.origin :, x - self.x.origin :]

    def _image(self, y: int, x: int) -> Box:
        """Rows and columns of the image, counted from ``(y, x)``."""
        (top, bottom), (left, right) = self.ops.borders
        return Box(top - y, bottom - y, left - x, right - x)


def _windows(part: Range, window: int, offset: int) -> Range:
    """Whole windows, on the grid that begins at ``-offset``, over some rows or columns."""
    first = (part[0] + offset) // window * window - offset
    count = -((first - part[1]) // window)
    return first, first + count * window

"""Run one tile: hold its planes, and apply each step of a network to them, cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin2sr_ops.engine.cell_blocks import CellBlocks
from swin2sr_ops.engine.cells import Cells, Grid, GroupGrid, grouped
from swin2sr_ops.engine.row_cache import CachedRows
from swin2sr_ops.engine.threads import for_each
from swin2sr_ops.geometry.plan import Span, Tile
from swin2sr_ops.geometry.steps import Step
from swin2sr_ops.nets.heads import Patch, PatchOps, before_upsample, reconstruct

__all__ = ["PlaneRun"]


@dataclass(frozen=True)
class _Axis:
    """One axis of a tile's buffers: where they start, their length, and the tile's span."""

    span: Span
    origin: int
    length: int

    @classmethod
    def of(cls, span: Span, cell: int, window: int, first: int) -> _Axis:
        # Add a margin of one window in front (shifted cells, convolutions); head cells are two cells wide.
        origin = first // (2 * cell) * (2 * cell) - window
        end = -(-span.read[1] // (2 * cell)) * (2 * cell) + window
        shifted = -(-(span.read[1] + window) // cell) * cell + window
        return cls(span, origin, max(end, shifted) - origin)

    def cells(self, needed: tuple[int, int], side: int, offset: int) -> range:
        """Return the first pixel of each cell that covers ``needed``, on the grid that starts at ``-offset``."""
        first = (needed[0] + offset) // side * side - offset
        return range(first, needed[1], side)


class PlaneRun:
    """Buffers of one running tile, with one method per kind of step.

    ``above`` holds the rows that the tile above has left, ``below`` those that this tile leaves.
    """

    def __init__(
        self,
        blocks: CellBlocks,
        image: Tensor,
        tile: Tile,
        pool: ThreadPoolExecutor | None,
        above: CachedRows | None = None,
        below: CachedRows | None = None,
    ) -> None:
        self.pool, self.above, self.below = pool, above, below
        self.blocks, self.net, self.spec, self.tile = blocks, blocks.net, blocks.spec, tile
        firsts = tile.y.read[0] if above is None else max(above.lowest(self.spec), tile.y.read[0]), tile.x.read[0]
        self.y, self.x = (
            _Axis.of(span, blocks.cell, blocks.spec.window, first)
            for span, first in zip((tile.y, tile.x), firsts, strict=True)
        )
        image = image[:, firsts[0] - tile.y.read[0] :]
        self.ops = PatchOps((tile.y.borders, tile.x.borders))
        origin, window = (self.y.origin, self.x.origin), self.spec.window
        device = self.net.conv_first.weight.device
        self.grid = Grid(origin, window) if blocks.group == 1 else GroupGrid(origin, window, self.x.length, device)
        self.like = self.net.conv_first.weight
        self.image = self._plane(self.spec.inputs)  # zero outside the image: the first convolution's padding
        top, left = firsts[0] - self.y.origin, firsts[1] - self.x.origin
        normal = (image.to(self.image) - self.net.mean[0].to(self.image)) * self.spec.value_range
        rows, columns = image.shape[-2:]
        self.image[top : top + rows, left : left + columns] = normal.permute(1, 2, 0)
        self.source = self.image  # input of the next `embed`
        self.plane = self._plane(self.spec.dim, next(self.net.layers.parameters()).dtype)
        self.residual: Tensor | None = None  # input of the current stage
        self.before_plane: Tensor | None = None
        self.results: dict[str, Tensor] = {}
        self._stage = ""

    def _plane(self, channels: int, dtype: torch.dtype | None = None) -> Tensor:
        return self.like.new_zeros(self.y.length, self.x.length, channels, dtype=dtype)

    @cached_property
    def first(self) -> Tensor:
        """First features of a trunk, which bypass its stages; at the trunk's end its result."""
        return self._plane(self.spec.dim)

    # --- the tiles above and below -------------------------------------------------------------

    def join(self, index: int) -> None:
        """Copy rows left by the tile above to the planes that a step reads; save rows for the tile below."""
        if self.above is not None:
            for name, part in self.above.parts[index].items():
                self._rows_of(name, part).copy_(self.above.rows.pop((index, name)))
        if self.below is not None:
            for name, part in self.below.parts[index].items():
                self.below.rows[index, name] = self._rows_of(name, part).clone()

    def _rows_of(self, name: str, part: tuple[int, int]) -> Tensor:
        plane: Tensor = getattr(self, name)
        return plane[part[0] - self.y.origin : part[1] - self.y.origin]

    def rows(self, index: int) -> tuple[int, int]:
        """Return the rows of a step's result that later steps read and that no tile above has computed."""
        first, last = self.tile.y.needed[index]
        return first if self.above is None else min(self.above.ends[index], last), last

    # --- steps -------------------------------------------------------------------------------

    def embed(self, step: Step, index: int) -> None:
        """Compute the first convolution and the per-pixel embedding of a trunk."""
        conv = getattr(self.net, step.path)
        layers = conv if isinstance(conv, nn.Sequential) else [conv]
        features = self.first

        def work(cells: Cells) -> None:
            first = _last(self._convolve(layers, self.grid.patch(self.source, cells, 1)))
            self.grid.put(features, cells, first)
            self.grid.put(self.plane, cells, self.net.patch_embed(first))

        self._each(work, index)
        self._stage = ""

    def window(self, step: Step, index: int) -> None:
        """Run a Swin block in place, some windows at a time."""
        self.keep(step)

        def work(cells: Cells) -> None:
            tokens = self.blocks.block(step.path, self.grid.windows(self.plane, cells), cells.cuts)
            self.grid.put_windows(self.plane, cells, tokens)

        self._each(work, index, step.offset(self.spec.window))

    def keep(self, step: Step) -> None:
        """Save the input of a stage, which is added at the stage's end."""
        stage = step.path.rsplit(".residual_group", 1)[0]
        if stage == self._stage:
            return
        if self.residual is None:
            self.residual = self.plane.clone()
        else:
            self.residual.copy_(self.plane)
        self._stage = stage

    def merge(self, step: Step, index: int) -> None:
        """Compute the end of a stage: convolution, embedding, and the stage's input added."""
        stage = attrgetter(step.path)(self.net)
        layers = stage.conv if isinstance(stage.conv, nn.Sequential) else [stage.conv]

        def work(cells: Cells) -> None:
            patch = self._convolve(layers, self.grid.patch(self.plane, cells, step.reach))
            self.grid.put(self.begun, cells, stage.patch_embed(_last(patch)), add=True)

        self._each(work, index)
        self.merged()

    @property
    def begun(self) -> Tensor:
        """Input of the current stage, at its end."""
        assert self.residual is not None
        return self.residual

    def merged(self) -> None:
        """Swap the planes: the stage's result is in the plane that held its input."""
        self.plane, self.residual = self.begun, self.plane
        self._stage = ""

    def tail(self, step: Step, index: int) -> None:
        """Compute the end of a trunk: norm, convolution, and the first features added (to them, in place)."""
        self.residual = None
        conv = getattr(self.net, step.path)
        layers = conv if isinstance(conv, nn.Sequential) else [conv]
        norm = self.net.norm

        def work(cells: Cells) -> None:
            patch = self.grid.patch(self.plane, cells, step.reach)
            normal = F.layer_norm(_last(patch).to(self.like), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
            patch = self.ops.blank(replace(patch, data=normal.permute(0, 3, 1, 2)))
            self.grid.put(self.first, cells, _last(self._convolve(layers, patch)), add=True)

        self._each(work, index)

    def before(self, step: Step, index: int) -> None:
        """Compute the features from which both branches of the high-frequency head start."""
        plane = self.before_plane = self._plane(self.spec.num_feat)

        def work(cells: Cells) -> None:
            patch = before_upsample(self.net, self.grid.patch(self.first, cells, step.reach), self.ops)
            self.grid.put(plane, cells, _last(patch))

        self._each(work, index)
        self.source = plane

    def head(self, step: Step, index: int) -> None:
        """Run the head, and convert to 0..1; free the stages' planes first."""
        del self.plane
        self.reconstruct(step, index)
        for result in self.results.values():
            result.div_(self.spec.value_range).add_(self.net.mean[0].to(result))

    def reconstruct(self, step: Step, index: int) -> None:
        """Run the head in cells twice as wide; their pixels have the output's resolution."""

        def work(cells: Cells) -> None:
            features = self.grid.patch(self.first, cells, step.reach)
            image = self.grid.patch(self.image, cells, step.reach)
            before = None
            if self.before_plane is not None:
                before = self.grid.patch(self.before_plane, cells, step.reach)
            for name, patch in reconstruct(self.net, features, image, self.ops, before).items():
                self._keep(name, patch, cells)

        self._each(work, index, side=2 * self.blocks.cell)

    # --- cells ---------------------------------------------------------------------------------

    def _each(self, work: Callable[[Cells], None], index: int, offset: int = 0, side: int = 0) -> None:
        """Call ``work`` for all cells that later layers read, on all threads of the pool."""
        wide, side = bool(side), side or self.blocks.cell
        rows = self.y.cells(self.rows(index), side, offset)
        columns = self.x.cells(self.tile.x.needed[index], side, offset)
        # Cells of the head are four times as large, and even larger at the output's resolution.
        size = max(1, self.blocks.group // 4) if wide else self.blocks.group
        for_each(work, grouped([(y, x) for y in rows for x in columns], side, self.ops.borders, size), self.pool)

    def _convolve(self, layers: Any, patch: Patch) -> Patch:
        for layer in layers:
            is_conv = isinstance(layer, nn.Conv2d)
            patch = self.ops.conv(layer, patch) if is_conv else self.ops.lrelu(patch, layer.negative_slope)
        return patch

    def _keep(self, name: str, patch: Patch, cells: Cells) -> None:
        """Crop head cells to the tile's own pixels, and store them."""
        s, side = patch.resolution, cells.side
        owned_y, owned_x = self.tile.y, self.tile.x
        if name not in self.results:
            height, width = self.tile.shape
            # Several threads may reach this line at once: only the first one's tensor stays.
            self.results.setdefault(name, self.image.new_empty(self.spec.channels, height * s, width * s))
        top, left = owned_y.start * s, owned_x.start * s
        stored = zip(patch.data, patch.places, cells.places[: cells.kept], strict=False)
        for data, (row, column), (y, x) in stored:
            y0, y1 = max(y, owned_y.start) * s, min(y + side, owned_y.stop) * s
            x0, x1 = max(x, owned_x.start) * s, min(x + side, owned_x.stop) * s
            target = self.results[name][:, y0 - top : y1 - top, x0 - left : x1 - left]
            target.copy_(data[:, y0 - row : y1 - row, x0 - column : x1 - column])


def _last(patch: Patch) -> Tensor:
    """Return the patches' pixels as ``(n, H, W, C)``."""
    return patch.data.permute(0, 2, 3, 1)

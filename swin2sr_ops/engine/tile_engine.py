"""Compute one tile of any size in three feature planes, always in the same fixed cells.

Everything is computed in *cells*: squares of 4 x 4 windows on a grid fixed at the image's first
pixel (moved by the shift in shifted layers). So each kernel always runs in one shape, and
each pixel always has the same position in it, for every tile. Kernels of real libraries
do depend on shape and position (measured, docs/engines.md); with fixed cells the result does not.

A block reads and writes only its own windows, so it updates the feature plane in place, cell by cell, without
full-plane qkv, attention or MLP tensors. After each layer only the cells that later layers read
are computed (`Span.needed`), so the halo shrinks from layer to layer. On accelerators a kernel processes a group of
cells of fixed size (`swin2sr_ops.engine.cells`).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swin2sr_ops.engine.cell_blocks import CellBlocks
from swin2sr_ops.engine.float32 import full_float32, short_float32
from swin2sr_ops.engine.kernel_run import KernelRun
from swin2sr_ops.engine.plane_run import PlaneRun
from swin2sr_ops.engine.row_cache import CachedRows, RowCache
from swin2sr_ops.engine.threads import single_thread_kernels
from swin2sr_ops.geometry.plan import Tile
from swin2sr_ops.geometry.steps import GROUP_CELLS, network_steps
from swin2sr_ops.nets.network import SwinNet

if TYPE_CHECKING:
    from swin2sr_ops.engine.native.engine import NativeEngine
    from swin2sr_ops.engine.triton.graphs import Graphs

__all__ = ["TileEngine"]


class TileEngine:
    """Run a network tile by tile.

    Parameters
    ----------
    net : SwinNet
        In evaluation mode, on its device, in float32 or float64; the engine owns it from then on.
    half : bool
        Run the stages in bfloat16. First and last convolutions, heads, and the features that bypass all stages
        stay in float32: with 8 bits there too, results lose 6 to 13 dB more (docs/engines.md). NVIDIA GPUs may
        compute their products in TF32.
    kernels : str
        Kernels of the Swin blocks: ``"torch"``; ``"triton"`` on a GPU, for up to `fused.WIDEST` channels; for a
        float32 network on the CPU ``"openvino"``, or ``"native"``, which runs the whole network.
    group : int, optional
        Cells that are computed together; 1 on CPUs, else `GROUP_CELLS`.
    """

    def __init__(self, net: SwinNet, *, half: bool = False, kernels: str = "torch", group: int | None = None) -> None:
        self.net = net
        self.spec = net.spec
        self._native: NativeEngine | None = None
        if kernels == "native":
            from swin2sr_ops.engine.native.engine import NativeEngine

            self.group = 1
            self._native = NativeEngine(net.spec, {name: value.numpy() for name, value in net.state_dict().items()})
            return
        self._float32 = short_float32 if half else full_float32
        on_cpu = net.conv_first.weight.device.type == "cpu"
        self.group = group or (1 if on_cpu else GROUP_CELLS)
        self.blocks = blocks = CellBlocks(net, self.group, half=half)
        if half:
            for stages in (net.layers, getattr(net, "layers_hf", None)):
                if stages is not None:
                    stages.to(torch.bfloat16)
        self._work: Callable[..., PlaneRun] = PlaneRun
        self._graphs: Graphs | None = None
        if kernels == "openvino":
            from swin2sr_ops.engine.openvino import CompiledBlocks

            blocks.compiled = CompiledBlocks(net, blocks.constants)
        elif kernels == "triton":
            from swin2sr_ops.engine.triton.graphs import Graphs
            from swin2sr_ops.engine.triton.steps import FusedSteps

            steps = FusedSteps(net, blocks.constants)
            self._work = partial(KernelRun, steps)
            if steps.complete and not on_cpu:
                self._graphs = Graphs(net.spec)

    @torch.inference_mode()
    def run(self, image: Tensor, tile: Tile, row_cache: RowCache | None = None) -> dict[str, Tensor]:
        """Restore one tile.

        Parameters
        ----------
        image : Tensor
            ``(C, rows, columns)``, the tile's read region in 0..1, padded already (`Span.read`).
        tile : Tile
            The spans along Y and X.
        row_cache : RowCache, optional
            For tiles of a column, in order downwards: rows computed by the tile above are reused, and rows for the tile
            below are saved. The result is the same.

        Returns
        -------
        dict
            ``image`` ``(C, rows scale, columns scale)`` of the owned pixels, and the head's other outputs, each
            at its own scale.
        """
        if self._native is not None:
            with single_thread_kernels() as threads:
                return {"image": torch.from_numpy(self._native.run(image.numpy(), tile, row_cache, threads))}
        if self.group > 1:
            with self._float32():
                if self._graphs is not None and row_cache is None:
                    return self._graphs.run(image, tile, self._run)
                return self._run(image, tile, row_cache)
        with single_thread_kernels() as threads:
            if threads == 1:
                return self._run(image, tile, row_cache)
            with ThreadPoolExecutor(threads, "cells") as pool:
                return self._run(image, tile, row_cache, pool)

    def _run(
        self, image: Tensor, tile: Tile, row_cache: RowCache | None = None, pool: ThreadPoolExecutor | None = None
    ) -> dict[str, Tensor]:
        above = below = None
        if row_cache is not None:
            above = row_cache.take(image, tile)
            below = CachedRows.of(image, tile, self.spec) if tile.y.stop < tile.y.size else None
        work = self._work(self.blocks, image, tile, pool, above, below)
        for index, step in enumerate(network_steps(self.spec)):
            if row_cache is not None:
                work.join(index)
            getattr(work, step.kind)(step, index)
        if row_cache is not None:
            row_cache.last = below
        return work.results

"""Run networks of plugins: any module, without access to its layers, cell by cell.

A cell is a square on a grid fixed at the image's first pixel. It enters the network with a halo, cropped
at the image's borders, and only the cell itself is kept. The input depends on the image and the model,
never on the tile, so each pixel's result is bit-identical in every tile. The model declares if it
also equals one pass over the whole image (`Reach.exact`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from swin2sr_ops.engine.devices import free_memory_cpu
from swin2sr_ops.engine.float32 import full_float32
from swin2sr_ops.engine.threads import Spares, for_each, single_thread_kernels
from swin2sr_ops.engine.tile_engine import TileEngine
from swin2sr_ops.errors import ModelError, TileError
from swin2sr_ops.geometry.plan import Tile, cell_bytes
from swin2sr_ops.geometry.steps import CellSpan, cell_spans
from swin2sr_ops.nets.network import SwinNet
from swin2sr_ops.spec import ModelSpec

__all__ = ["CellEngine", "engine_of"]

#: Share of the free memory for cells that run at the same time.
_MEMORY_SHARE = 0.5


def engine_of(
    net: nn.Module, spec: ModelSpec, *, dtype: torch.dtype = torch.float32, kernels: str = "torch"
) -> TileEngine | CellEngine:
    """Create the engine that runs ``net`` tile by tile, its Swin blocks by ``kernels``; the engine owns the network.

    Raises
    ------
    ModelError
        If it is not one of this package's networks, and its spec does not state its receptive field.
    """
    if spec.reach is not None:
        return CellEngine(net.to(dtype), spec)
    if isinstance(net, SwinNet):
        half = dtype == torch.bfloat16
        return TileEngine(net if half else net.to(dtype), half=half, kernels=kernels)
    raise ModelError(
        f"{spec.name!r} is described as {spec.architecture}, but its plugin built a {type(net).__name__}: give the spec"
        " an architecture of its own and its `reach`."
    )


class CellEngine:
    """Run any network tile by tile.

    Parameters
    ----------
    net : nn.Module
        Maps ``(1, C, H, W)`` in 0..1 to ``(1, C, H scale, W scale)``; on its device and in its dtype.
    spec : ModelSpec
        Has a ``reach``.
    """

    def __init__(self, net: nn.Module, spec: ModelSpec) -> None:
        self.net, self.spec = net.eval().requires_grad_(False), spec
        like = next(iter([*net.parameters(), *net.buffers()]), torch.empty(0))
        self.device, self.dtype = like.device, like.dtype
        # Foreign modules may store state between calls: each thread uses its own copy with the same weights.
        self._twins = Spares(lambda: _twin_of(self.net), self.net)
        self._alone = not _has_twins(self.net)

    @torch.inference_mode()
    def run(self, image: Tensor, tile: Tile) -> dict[str, Tensor]:
        """Restore one tile; parameters and result are those of `swin2sr_ops.engine.tile_engine.TileEngine.run`."""
        s, channels = self.spec.scale, self.spec.channels
        kept = torch.promote_types(image.dtype, torch.float32)
        result = image.new_empty((channels, tile.shape[0] * s, tile.shape[1] * s), dtype=kept)
        rows, columns = (cell_spans((a.start, a.stop), a.borders, self.spec) for a in (tile.y, tile.x))

        def cell(place: tuple[int, int]) -> None:
            self._cell(image, tile, (rows[place[0]], columns[place[1]]), result)

        cells = [(i, j) for i in range(len(rows)) for j in range(len(columns))]
        with self._pool(len(cells)) as pool:
            for_each(cell, cells, pool)
        return {"image": result}

    def _cell(self, image: Tensor, tile: Tile, place: tuple[CellSpan, CellSpan], result: Tensor) -> None:
        s, spans = self.spec.scale, (tile.y, tile.x)
        part = image[:, *(slice(b.lo - a.read[0], b.hi - a.read[0]) for b, a in zip(place, spans, strict=True))]
        with self._twins.borrowed() as net:
            found = self._call(net, part)
        kept = [(max(b.start, a.start), min(b.stop, a.stop)) for b, a in zip(place, spans, strict=True)]
        source = [slice((lo - b.lo) * s, (hi - b.lo) * s) for (lo, hi), b in zip(kept, place, strict=True)]
        target = [slice((lo - a.start) * s, (hi - a.start) * s) for (lo, hi), a in zip(kept, spans, strict=True)]
        result[:, *target] = found[0][:, *source]

    def _call(self, net: nn.Module, part: Tensor) -> Tensor:
        try:
            found = net(part[None].to(self.device, self.dtype))
        except (RuntimeError, MemoryError):  # torch's errors: the caller checks if memory was lacking
            raise
        except Exception as exc:  # foreign code may raise anything
            raise TileError(
                f"The network of {self.spec.name!r} failed at an input of shape {(1, *part.shape)}: {exc!r}"
            ) from exc
        expected = (1, self.spec.channels, *(n * self.spec.scale for n in part.shape[-2:]))
        given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        if given != expected:
            raise ModelError(
                f"The network of {self.spec.name!r} returned {given} for an input of shape {(1, *part.shape)}: its spec"
                f" states scale {self.spec.scale} and {self.spec.channels} channel(s), which is {expected}."
            )
        result: Tensor = found
        return result

    @contextmanager
    def _pool(self, cells: int) -> Iterator[ThreadPoolExecutor | None]:
        """Create threads for cells on a CPU, no more than fit into memory."""
        if self.device.type != "cpu":
            with full_float32():
                yield None
            return
        with single_thread_kernels() as threads:
            fitting = int(_MEMORY_SHARE * free_memory_cpu() // max(cell_bytes(self.spec, self.dtype.itemsize), 1))
            workers = max(min(threads, cells, fitting), 1)
            if workers == 1 or self._alone:
                yield None
                return
            with ThreadPoolExecutor(workers, "cells") as pool:
                yield pool


def _twin_of(net: nn.Module) -> nn.Module:
    """Copy a module; tensors are shared, everything else is copied."""
    return copy.deepcopy(net, {id(tensor): tensor for tensor in (*net.parameters(), *net.buffers())})


def _has_twins(net: nn.Module) -> bool:
    try:
        _twin_of(net)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError):  # copy.deepcopy fails so for some objects
        return False
    return True

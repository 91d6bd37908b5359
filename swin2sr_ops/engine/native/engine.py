"""The engine in C: a whole network, from a tile's pixels to its result, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.native.network import NativeNetwork
from swin2sr_ops.engine.native.tile import NativeTile
from swin2sr_ops.engine.parallel import usable_cores
from swin2sr_ops.engine.row_cache import CachedRows, RowCache
from swin2sr_ops.geometry.plan import Tile
from swin2sr_ops.geometry.steps import network_steps
from swin2sr_ops.spec import ModelSpec

__all__ = ["NativeEngine"]


class NativeEngine:
    """Runs a network tile by tile, in float32 on the CPU.

    Parameters
    ----------
    spec : ModelSpec
        A Swin2SR or SwinIR network.
    parameters : mapping of str to ndarray
        Its weights under the official names.
    """

    def __init__(self, spec: ModelSpec, parameters: Mapping[str, NDArray[Any]]) -> None:
        self.spec = spec
        self.network = NativeNetwork(spec, parameters)

    def run(
        self,
        image: NDArray[Any],
        tile: Tile,
        row_cache: RowCache | None = None,
        threads: int | None = None,
    ) -> NDArray[np.float32]:
        """Restore one tile.

        Parameters
        ----------
        image : ndarray
            ``(C, rows, columns)``, the tile's read region in 0..1, padded already (`Span.read`).
        tile : Tile
            The spans along Y and X.
        row_cache : RowCache, optional
            Of a run that goes down a column of tiles: what the tile above has computed is not computed again, and
            what the one below needs is kept. The result is the same.
        threads : int, optional
            Threads among which rows are shared; by default `usable_cores`.

        Returns
        -------
        ndarray
            ``(C, rows scale, columns scale)`` of the owned pixels, in 0..1, not clipped.
        """
        above = below = None
        if row_cache is not None:
            above = row_cache.take(image, tile)
            below = CachedRows.of(image, tile, self.spec) if tile.y.stop < tile.y.size else None
        with _pool(usable_cores() if threads is None else threads) as pool:
            work = NativeTile(self.network, image, tile, pool, above, below)
            for index, step in enumerate(network_steps(self.spec)):
                if row_cache is not None:
                    work.join(index)
                getattr(work, step.kind)(step, index)
        if row_cache is not None:
            row_cache.last = below
        assert work.result is not None
        return work.result


@contextmanager
def _pool(threads: int) -> Iterator[ThreadPoolExecutor | None]:
    if threads == 1:
        yield None
        return
    with ThreadPoolExecutor(threads, "rows") as pool:
        yield pool

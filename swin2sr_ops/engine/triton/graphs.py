"""A tile's launches as one: CUDA graphs for tiles of which the like come again.

The kernels of a small network may take less time on a large GPU than it takes to launch them one by one: of the
lightweight x2 network a tile of 1,024 px is 427 launches, and 9.4 GB to move, which is 2 ms of an H200's 4.8 TB/s.
Recorded once, they are one launch. Tiles in the middle of an image are all alike (`Span.alike`), as are those along
each border, and those of the next plane of a stack.

A graph computes again what was computed when it was recorded, with the same kernels, in the same places of memory. That
its result is the same is looked at once for each, against the tile computed without it: a driver that cannot record,
or gives other bits, costs speed, not pixels. Not yet run on a GPU.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from swin2sr_ops.engine.devices import free_memory, is_out_of_memory
from swin2sr_ops.geometry.plan import Tile, tile_bytes
from swin2sr_ops.spec import ModelSpec

__all__ = ["Graphs"]

_log = logging.getLogger(__name__)

Results = dict[str, Tensor]
Compute = Callable[[Tensor, Tile], Results]

#: Kinds of tiles that get a graph: a plan has nine, and each graph holds a tile's pixels and results.
MOST = 9
#: Kinds that are remembered while they have no graph: tiles of odd sizes may each be one of its own.
FORGET = 100
#: Tiles for which there must be memory before one is recorded: what it holds, and a tile that is computed without it.
ROOM = 3


@dataclass(frozen=True)
class _Recorded:
    graph: Any  # torch.cuda.CUDAGraph
    image: Tensor  # where it reads
    results: Results  # where it writes

    def replay(self, image: Tensor) -> Results:
        self.image.copy_(image)
        self.graph.replay()
        return {name: result.clone() for name, result in self.results.items()}


class Graphs:
    """The recorded tiles of one network, on one CUDA device; for one thread at a time.

    Parameters
    ----------
    spec : ModelSpec
        Of a network whose tiles are computed without a look at a value on the host.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._seen: Counter[Tile] = Counter()
        self._recorded: dict[Tile, _Recorded] = {}
        self._pool: Any = None  # graphs that never run at once share their memory
        #: Why nothing is recorded any more.
        self.obstacle = ""

    def run(self, image: Tensor, tile: Tile, compute: Compute) -> Results:
        """What ``compute`` gives for a tile; from the third of its kind on, by a graph."""
        tile = Tile(tile.y.alike(self._spec), tile.x.alike(self._spec))
        if tile in self._recorded:
            return self._recorded[tile].replay(image)
        try:
            results = compute(image, tile)
            if len(self._recorded) < MOST and not self.obstacle:
                if len(self._seen) == FORGET:
                    self._seen.clear()
                self._seen[tile] += 1
                if self._seen[tile] == 2:
                    self._record(image, tile, compute, results)
        except Exception as exc:
            if is_out_of_memory(exc):
                self._stop(str(exc))
            raise
        return results

    def _record(self, image: Tensor, tile: Tile, compute: Compute, expected: Results) -> None:
        if ROOM * tile_bytes(self._spec, image.shape[-2], image.shape[-1], 4) > free_memory(image.device):
            self._stop("there is too little memory")
            return
        try:
            recorded = self._recording(image, tile, compute)
            found = recorded.replay(image)
        # Whatever it is, a driver's error or a library's: the tile has been computed.
        except Exception as exc:  # noqa: BLE001
            self._stop(f"{type(exc).__name__}: {exc}")
            return
        if all(torch.equal(found[name], expected[name]) for name in expected):
            self._recorded[tile] = recorded
        else:
            self._stop("a graph gave other values than the kernels one by one")

    def _recording(self, image: Tensor, tile: Tile, compute: Compute) -> _Recorded:
        place = image.clone()
        with torch.cuda.device_of(image):  # type: ignore[no-untyped-call]
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(image.device)  # type: ignore[no-untyped-call]
            # Other threads may use the device meanwhile: they upload the next tile.
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                results = compute(place, tile)
        self._pool = graph.pool()
        return _Recorded(graph, place, results)

    def _stop(self, why: str) -> None:
        """No graphs from here on, and the memory of those that there are for others."""
        _log.info("tiles of %s are not run as CUDA graphs: %s", self._spec.name, why)
        self.obstacle = why
        self._recorded.clear()

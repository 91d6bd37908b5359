"""Launch a tile's kernels at once: CUDA graphs for tiles whose kind recurs.

On a large GPU the kernels of a small network may take less time than their separate launches: a tile of 1,024 px of
the lightweight x2 network has 427 launches and moves 9.4 GB, which takes 2 ms at an H200's 4.8 TB/s. A recorded graph
is a single launch. All tiles in the middle of an image are alike (`Span.alike`), as are those along
each border, and those of the next plane of a stack.

A graph repeats the recorded computation with the same kernels at the same addresses. Each graph is compared once
with a tile computed without it: a driver that cannot record, or gives other bits, costs speed, not pixels. Not
yet run on a GPU.
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

#: Most kinds of tiles with a graph: a plan has nine, and each graph holds a tile's pixels and results.
MOST = 9
#: Most kinds without a graph that are counted: tiles of odd sizes may each be a kind of their own.
FORGET = 100
#: Free memory, in tiles, that a recording needs: for the graph itself, and for a tile computed without it.
ROOM = 3


@dataclass(frozen=True)
class _Recorded:
    graph: Any  # torch.cuda.CUDAGraph
    image: Tensor  # input
    results: Results  # outputs

    def replay(self, image: Tensor) -> Results:
        self.image.copy_(image)
        self.graph.replay()
        return {name: result.clone() for name, result in self.results.items()}


class Graphs:
    """Recorded tiles of one network on one CUDA device; for one thread at a time.

    Parameters
    ----------
    spec : ModelSpec
        Spec of a network whose tiles are computed without reading a value on the host.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec
        self._seen: Counter[Tile] = Counter()
        self._recorded: dict[Tile, _Recorded] = {}
        self._pool: Any = None  # memory shared by the graphs, which never run at the same time
        #: Why nothing is recorded any more; empty while recording is possible.
        self.obstacle = ""

    def run(self, image: Tensor, tile: Tile, compute: Compute) -> Results:
        """Compute a tile with ``compute``; from the third of its kind on, with a graph."""
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
        # Any error of a driver or a library: the tile has been computed already.
        except Exception as exc:  # noqa: BLE001
            self._stop(f"{type(exc).__name__}: {exc}")
            return
        if all(torch.equal(found[name], expected[name]) for name in expected):
            self._recorded[tile] = recorded
        else:
            self._stop("the graph gave other values than separate kernels")

    def _recording(self, image: Tensor, tile: Tile, compute: Compute) -> _Recorded:
        place = image.clone()
        with torch.cuda.device_of(image):  # type: ignore[no-untyped-call]
            graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream(image.device)  # type: ignore[no-untyped-call]
            # Other threads may use the device meanwhile to upload the next tile.
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                results = compute(place, tile)
        self._pool = graph.pool()
        return _Recorded(graph, place, results)

    def _stop(self, why: str) -> None:
        """Stop using graphs, and free the memory of the recorded ones."""
        _log.info("tiles of %s are not run as CUDA graphs: %s", self._spec.name, why)
        self.obstacle = why
        self._recorded.clear()

"""Measure what a cluster adds to each tile: time per tile of a run whose tiles do nothing.

    python benchmarks/cluster_overhead.py [--tiles 5000] [--workers 2]

The tiles are those of a large plane with the deepest shipped geometry, so what is pickled and sent
is what a real run sends; nothing is read, computed or written. The start of the processes is measured separately.
"""

from __future__ import annotations

import argparse
import math
import platform
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from swin2sr_ops.cluster.executor import open_cluster
from swin2sr_ops.geometry.plan import Tile, TilePlan
from swin2sr_ops.spec import ModelSpec

SIDE = 64


@dataclass(frozen=True)
class Place:
    """As much as a real piece carries."""

    tile: Tile
    read: tuple[slice, ...]
    write: tuple[slice, ...]


@dataclass(frozen=True)
class FreeWork:
    """Restores nothing, at once."""

    parts: tuple[Any, ...] = ()

    def finished(self, piece: Place) -> bool:
        """Return False: every tile is new."""
        return False


def free_stream(work: FreeWork, pieces: Iterable[Place], done: Callable[[Place], None]) -> None:
    """Finish all pieces without any work."""
    for piece in pieces:
        done(piece)


def places(count: int) -> Iterator[Place]:
    """Iterate over the tiles of a large plan."""
    spec = ModelSpec(
        name="deep", scale=2, channels=1, dim=180, depths=(6,) * 6, heads=(6,) * 6, upsampler="pixelshuffle"
    )
    rows = math.isqrt(count)
    plan = TilePlan(spec, rows * SIDE, -(-count // rows) * SIDE, (SIDE, SIDE))
    for _, tile in zip(range(count), plan, strict=False):
        owned = tuple(slice(*span.write) for span in (tile.y, tile.x))
        yield Place(tile, tuple(slice(*span.read) for span in (tile.y, tile.x)), owned)


def main() -> None:
    """Measure the time per tile and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    began = time.perf_counter()
    drawn = list(places(options.tiles))  # planning is not what is measured
    print(f"{platform.processor() or platform.machine()}, {options.workers} processes, {len(drawn)} tiles")
    print(f"planning           {1e3 * (time.perf_counter() - began) / len(drawn):6.3f} ms per tile")
    began = time.perf_counter()
    with open_cluster(workers=options.workers) as executor:
        print(f"starting processes {time.perf_counter() - began:6.2f} s")
        executor.stream = free_stream
        for run in ("first run", "second run"):
            began, busy, count = time.perf_counter(), time.process_time(), [0]
            executor.tiles(FreeWork(), iter(drawn), lambda _: count.__setitem__(0, count[0] + 1))  # noqa: B023
            wall, own = time.perf_counter() - began, time.process_time() - busy
            assert count[0] == len(drawn)
            print(f"{run:<18} {1e3 * wall / len(drawn):6.3f} ms per tile, {1e3 * own / len(drawn):.3f} ms of them here")
    print(f"peak memory here   {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()

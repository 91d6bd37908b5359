"""Stored bytes of chunks from pixels, and back, by zarr-python itself and without a disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.io.base import Region
from swin2sr_ops.io.output.staging import Layout, write_region

__all__ = ["ChunkCodec", "Unit"]

#: Number of a chunk in its key; Python refuses to read one of some thousand digits.
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")


class Unit(NamedTuple):
    """A write unit of a level: a chunk, or a shard; what lies beside the first level goes with its units."""

    level: int
    at: tuple[int, ...]


@dataclass(frozen=True)
class ChunkCodec:
    """Names, places, encodes and decodes the write units of a layout."""

    layout: Layout

    @cached_property
    def documents(self) -> dict[str, bytes]:
        """The metadata documents of all arrays, by their keys."""
        return self.layout.documents()

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """Return the layout of all levels."""
        return self.layout.shapes

    @cached_property
    def units(self) -> list[tuple[int, ...]]:
        """Lengths of the write unit, of all levels."""
        return [self.layout.unit(k) for k in range(len(self.shapes))]

    def grid(self, level: int) -> tuple[int, ...]:
        """Count the units along each axis."""
        return tuple(-(-n // u) for n, u in zip(self.shapes[level], self.units[level], strict=True))

    def paths(self, level: int) -> list[str]:
        """Arrays whose chunks a unit of ``level`` has."""
        return [str(level), *(self.layout.sides if level == 0 else ())]

    def key(self, path: str, index: tuple[int, ...]) -> str:
        """Return the key of a chunk or shard."""
        inside = "/".join(map(str, index))
        return f"{path}/c/{inside}" if self.layout.zarr_format == 3 else f"{path}/{inside}"

    def unit_of(self, key: str) -> Unit | None:
        """Return the unit that ``key`` belongs to; None where no chunk has that name."""
        for path, level in self._levels.items():
            inside = key.removeprefix(f"{path}/c/" if self.layout.zarr_format == 3 else f"{path}/")
            if inside == key:
                continue
            parts, grid = inside.split("/"), self.grid(level)
            if len(parts) == len(grid) and all(map(_INDEX.fullmatch, parts)):
                index = tuple(map(int, parts))
                if all(i < n for i, n in zip(index, grid, strict=True)):
                    return Unit(level, index)
        return None

    @cached_property
    def _levels(self) -> dict[str, int]:
        return {str(k): k for k in range(len(self.shapes))} | dict.fromkeys(self.layout.sides, 0)

    def region(self, unit: Unit) -> Region:
        """Return the pixels of a unit, in the order of the file's axes."""
        sizes = zip(unit.at, self.units[unit.level], self.shapes[unit.level], strict=True)
        return tuple(slice(i * u, min((i + 1) * u, n)) for i, u, n in sizes)

    def units_in(self, level: int, region: Region) -> Iterator[Unit]:
        """List the units that ``region`` touches."""
        steps = self.units[level]
        spans = (range(p.start // u, -(-p.stop // u)) for p, u in zip(region, steps, strict=True))
        return (Unit(level, index) for index in product(*spans))

    def keys(self, unit: Unit) -> list[str]:
        """Return the keys of a unit, its own and those beside it."""
        return [self.key(path, unit.at) for path in self.paths(unit.level)]

    def encode(self, path: str, level: int, region: Region, block: NDArray[Any]) -> dict[str, bytes | None]:
        """Encode whole units of the array at ``path``: bytes by key, None for what is not stored.

        A chunk that is all fill value is not stored, as in a run's output.
        """
        array, held = self._array(path, {})
        write_region(array, region, block)
        keys = [self.key(path, unit.at) for unit in self.units_in(level, region)]
        return {key: held[key].to_bytes() if key in held else None for key in keys}

    def decode(self, path: str, region: Region, values: Mapping[str, bytes | None]) -> NDArray[Any]:
        """Decode ``region`` of the array at ``path`` from the bytes of its units."""
        array, _ = self._array(path, {key: value for key, value in values.items() if value is not None})
        return np.asarray(array[region])

    def _array(self, path: str, values: Mapping[str, bytes]) -> tuple[Any, dict[str, Any]]:
        import zarr
        from zarr.core.buffer import default_buffer_prototype

        buffer = default_buffer_prototype().buffer
        own = {key: value for key, value in self.documents.items() if key.startswith(f"{path}/")}
        held: dict[str, Any] = {key: buffer.from_bytes(value) for key, value in (own | dict(values)).items()}
        return zarr.open_array(store=zarr.storage.MemoryStore(held), path=path, mode="r+"), held

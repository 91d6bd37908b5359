"""Levels of a restored image as arrays, where only some of their chunks exist; and a tile on its way to chunks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.base import ImageInfo, Region
from swin2sr_ops.run.origin import Origin
from swin2sr_ops.serve.codec import ChunkCodec
from swin2sr_ops.serve.limits import Values

__all__ = ["NoLevel", "NoSink", "RestoredTile", "StoredLevel", "WholeLevel"]


@dataclass(frozen=True)
class RestoredTile:
    """A tile: regions of the level in the image's axes, their pixels and what lies beside; and what it was made of."""

    blocks: list[tuple[Region, NDArray[Any], dict[str, NDArray[Any]]]]
    origin: Origin


@dataclass(frozen=True)
class StoredLevel:
    """A level with some of its units cached, as an array for `fill_region`."""

    codec: ChunkCodec
    path: str
    values: Values
    shape: tuple[int, ...]

    @property
    def chunks(self) -> tuple[int, ...]:
        return self.codec.layout.cut(self.shape)[0]

    def __getitem__(self, region: Region) -> NDArray[Any]:
        return self.codec.decode(self.path, region, self.values)

    def __setitem__(self, region: Region, block: Any) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class WholeLevel:
    """A level that is in memory."""

    pixels: NDArray[Any]
    chunks: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.pixels.shape

    def __getitem__(self, region: Region) -> NDArray[Any]:
        found: NDArray[Any] = self.pixels[region]
        return found


class NoLevel:
    """A level whose pixels are not needed."""

    shape: tuple[int, ...] = ()
    chunks: tuple[int, ...] = ()

    def __getitem__(self, region: Region) -> Any:
        raise RequestError("these pixels are not needed")


@dataclass
class NoSink:
    """A sink without storage: blocks are encoded instead of written."""

    info: ImageInfo
    uri: str = ""
    write_unit: tuple[int, ...] = ()

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None:
        raise NotImplementedError

    def finish(self, provenance: dict[str, Any]) -> None:
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

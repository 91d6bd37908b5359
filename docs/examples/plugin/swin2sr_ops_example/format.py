"""A format: NumPy's ``.npy``, read and written by regions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from swin2sr_ops import hookimpl
from swin2sr_ops.errors import FormatError
from swin2sr_ops.io.base import ImageInfo, Region, check_axes, check_block, check_region
from swin2sr_ops.io.output.destination import Destination
from swin2sr_ops.io.storage.paths import existing_path, local_path

AXES = {2: "YX", 3: "ZYX", 4: "CZYX", 5: "TCZYX"}


class NpySource:
    """An array in a file; it travels to workers as its path."""

    def __init__(self, uri: str, axes: str | None = None) -> None:
        array = self.open(uri)
        if array.ndim not in AXES:
            raise FormatError(f"{uri!r} has {array.ndim} dimension(s): expected 2 to 5.")
        self.uri = uri
        self.info = ImageInfo(
            shape=array.shape,
            axes=check_axes(axes or AXES[array.ndim], array.ndim),
            dtype=array.dtype,
            chunks=(1,) * (array.ndim - 2) + array.shape[-2:],  # a plane at a time
            name=Path(uri).stem,
            format="NumPy",
        )

    @staticmethod
    def open(uri: str) -> np.ndarray[Any, Any]:
        try:
            return np.load(existing_path(uri), mmap_mode="r")
        except (ValueError, EOFError) as exc:
            raise FormatError(f"{uri!r} is not a .npy file, or is truncated: {exc}") from exc

    def read(self, region: Region) -> np.ndarray[Any, Any]:
        return np.array(self.open(self.uri)[check_region(region, self.info.shape)])


class NpySink:
    """Grows beside its name and is renamed when it is finished. A ``.npy`` has no room for metadata."""

    def __init__(self, uri: str, info: ImageInfo, *, overwrite: bool = False, source: str | None = None) -> None:
        self.uri, self.info = uri, info
        self.destination = Destination.at(uri, overwrite=overwrite)
        self.destination.check(source)  # refuses what would destroy something
        self.beside = Path(f"{uri}.partial")
        self.write_unit = (1,) * len(info.shape)  # any region may be written
        np.lib.format.open_memmap(self.beside, mode="w+", dtype=info.dtype, shape=info.shape)

    def __setitem__(self, region: Region, block: np.ndarray[Any, Any]) -> None:
        np.lib.format.open_memmap(self.beside)[check_block(region, block, self.info, self.write_unit)] = block

    def finish(self, provenance: dict[str, Any]) -> None:
        self.destination.check()  # another process may have been faster
        self.beside.replace(self.uri)

    def abort(self) -> None:
        self.beside.unlink(missing_ok=True)


@hookimpl
def swin2sr_ops_open_source(uri: str, options: dict[str, Any]) -> NpySource | None:
    """Open a ``.npy`` file."""
    path = local_path(uri)
    return NpySource(uri, options.get("axes")) if path is not None and path.suffix == ".npy" else None


@hookimpl
def swin2sr_ops_create_sink(uri: str, info: ImageInfo, options: dict[str, Any]) -> NpySink | None:
    """Write a ``.npy`` file."""
    path = local_path(uri)
    if path is None or path.suffix != ".npy":
        return None
    return NpySink(uri, info, overwrite=bool(options.get("overwrite")), source=options.get("source"))

"""One scene of a file that bioio opens."""

from __future__ import annotations

import warnings
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops import FormatError, RequestError
from swin2sr_ops.hosting import ImageInfo, Region, check_region
from swin2sr_ops_bioio.readers import suggested

__all__ = ["BioioSource", "open_bioio"]

_UNIT = "micrometer"  # of bioio's physical pixel sizes
_NAMED = 20  # scenes in a message


class BioioSource:
    """A scene; it travels to workers as a path and a number, and opens again there.

    Attributes
    ----------
    uri : str
    series : int
        Number of the scene.
    info : ImageInfo
        Axes T, C and Z are left out where they have one plane.
    """

    def __init__(self, uri: str, path: Path, series: int, info: ImageInfo) -> None:
        self.uri, self.path, self.series, self.info = uri, path, series, info
        self._lock = Lock()
        self._data: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"uri": self.uri, "path": self.path, "series": self.series, "info": self.info}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def read(self, region: Region) -> NDArray[Any]:
        """Decode ``region``; a scene is read by one thread at a time, as not all readers allow more."""
        kept = dict(zip(self.info.axes, check_region(region, self.info.shape), strict=True))
        with self._lock:
            if self._data is None:
                self._data = _opened(self.path, self.series).dask_data
            # A scene has five axes, and a sixth for colours.
            index = tuple(kept.get(axis, 0) for axis in "TCZYXS"[: self._data.ndim])
            try:
                part = self._data[index].compute(scheduler="synchronous")
            except Exception as exc:  # readers are other packages' code
                raise _damaged(self.path, exc) from exc
        block: NDArray[Any] = np.array(part, dtype=self.info.dtype)
        return block

    def identity(self) -> dict[str, Any]:
        """Return the file's size and time, and the scene."""
        seen = self.path.stat()
        return {"bytes": seen.st_size, "changed": seen.st_mtime_ns, "scene": self.series}

    def files(self) -> list[str]:
        """Return the file's path."""
        return [str(self.path)]

    def close(self) -> None:
        """Forget the opened file; a later read opens it again."""
        with self._lock:
            self._data = None


def open_bioio(uri: str, path: Path, options: dict[str, Any]) -> BioioSource:
    """Open a scene of ``path`` and read its metadata.

    Parameters
    ----------
    uri : str
        What the user gave.
    path : Path
    options : dict
        ``series``, the number of a scene, or ``array``, its name.

    Raises
    ------
    FormatError
        If no installed reader opens it, or it is damaged.
    RequestError
        If there is no such scene, or an option that bioio does not have.
    """
    for name in ("axes", "level"):
        if options.get(name):
            raise RequestError(f"{name}={options[name]!r} is not possible for {path.name}, which bioio reads: omit it.")
    image = _opened(path, 0)
    series = _scene(image, path, options)
    try:
        image.set_scene(series)
        info = _info(image, path, series)
    except Exception as exc:  # readers are other packages' code
        raise _damaged(path, exc) from exc
    return BioioSource(uri, path, series, info)


def _opened(path: Path, series: int) -> Any:
    """Return bioio's image at a scene."""
    from bioio import BioImage
    from bioio_base.exceptions import UnsupportedFileFormatError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # readers' own, about metadata that they do not know
            image = BioImage(path, use_plugin_cache=True)
            image.set_scene(series)
    except UnsupportedFileFormatError as exc:
        raise FormatError(f"No installed reader of bioio opens {path.name!r}: install one{suggested(path)}.") from exc
    except Exception as exc:  # readers are other packages' code
        raise _damaged(path, exc) from exc
    return image


def _damaged(path: Path, exc: Exception) -> FormatError:
    text = " ".join(str(exc).split())[:300]
    return FormatError(f"bioio cannot read {path.name!r}: {type(exc).__name__}: {text}")


def _scene(image: Any, path: Path, options: dict[str, Any]) -> int:
    """Return the number of the scene that was asked for; the first, with a note, if there are several."""
    names = [str(name) for name in image.scenes]
    listed = ", ".join(f"{n} is {name}" for n, name in enumerate(names[:_NAMED]))
    series, name = options.get("series"), options.get("array")
    if name is not None:
        if name not in names:
            raise RequestError(f"array={name!r} is not a scene of {path.name!r}: it has {listed}.")
        return names.index(name)
    if series is None and len(names) > 1:
        warnings.warn(
            f"{path.name!r} holds {len(names)} scenes, and the first is taken: choose with series= ({listed}).",
            stacklevel=6,
        )
    if not 0 <= int(series or 0) < len(names):
        raise RequestError(f"series={series} does not exist: {path.name!r} has {listed}.")
    return int(series or 0)


def _info(image: Any, path: Path, series: int) -> ImageInfo:
    """Translate bioio's metadata."""
    data = image.dask_data
    letters = "TCZYXS"[: data.ndim]
    kept = [n for n, axis in enumerate(letters) if axis not in "TCZ" or data.shape[n] > 1]
    axes = "".join(letters[n] for n in kept)
    sizes = {axis: getattr(image.physical_pixel_sizes, axis) for axis in "ZYX"}
    pixel_size = {axis: float(size) for axis, size in sizes.items() if size and axis in axes and np.isfinite(size)}
    names = [str(name) for name in image.channel_names or ()]
    return ImageInfo(
        shape=tuple(int(data.shape[n]) for n in kept),
        axes=axes,
        dtype=np.dtype(data.dtype).newbyteorder("="),
        chunks=tuple(int(max(data.chunks[n])) for n in kept),
        pixel_size=pixel_size,
        units=dict.fromkeys(pixel_size, _UNIT),
        channels=tuple({"label": name} for name in names) if "S" not in axes else (),
        name=path.stem if len(image.scenes) < 2 else f"{path.stem} {image.scenes[series]}",
        format=f"{path.suffix.lstrip('.').upper()}, read by {type(image.reader).__module__.partition('.')[0]}",
    )

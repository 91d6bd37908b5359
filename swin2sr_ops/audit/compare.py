"""Compare recomputed blocks with those of an output."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.audit.placement import Agreement
from swin2sr_ops.errors import FormatError, Swin2SROpsError
from swin2sr_ops.io.base import ImageInfo, ImageSource, Region
from swin2sr_ops.io.output.pyramid import fill_region

__all__ = ["CheckSink", "Difference", "Stored"]


@dataclass(frozen=True)
class Difference:
    """A block of the output that differs from the recomputed one, or an array that is not as the run wrote it.

    Attributes
    ----------
    image : str
        Path inside an archive; empty for a single image.
    place : str
        Output pixels and planes, such as ``y=0:512 x=512:1024``; for a smaller level also its number. Or the
        array, such as ``spread (spread)``, and its path.
    pixels : int
        Number of values that differ; 0 if the block or array cannot be read.
    largest : float
        Largest difference in stored units.
    reason : str
        Empty if values differ; else the reason why the block cannot be compared.
    """

    image: str
    place: str
    pixels: int = 0
    largest: float = 0.0
    reason: str = ""

    def __str__(self) -> str:
        where = f"{self.image}: {self.place}" if self.image else self.place
        return f"{where}: {self.reason or f'{self.pixels:,} values differ, by up to {self.largest:g}'}"


@dataclass(frozen=True)
class Stored:
    """An array of the output, read with the axes of the written image."""

    source: ImageSource
    info: ImageInfo

    @classmethod
    def of(cls, source: ImageSource, info: ImageInfo, *, level: int = 0) -> Stored:
        """Check that ``source`` has the shape and type of ``info``; its axes may have another order.

        Raises
        ------
        FormatError
            If axes, size or type differ.
        """
        stored = cls(source, info)
        shape = stored.shape
        expected = tuple(-(-n // 2**level) if a in "YX" else n for n, a in zip(info.shape, info.axes, strict=True))
        if shape != expected or source.info.dtype != info.dtype:
            raise FormatError(
                f"The run makes an image of axes {info.axes}, shape {expected} and type {info.dtype}, but the output"
                f" has {source.info.axes}, {source.info.shape} and {source.info.dtype}: it is not the output of this"
                " source and model."
            )
        return stored

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape with the axes of ``info``; an axis that the file omits has length one."""
        sizes = dict(zip(self._letters, self.source.info.shape, strict=True))
        extra = [a for a, n in sizes.items() if a not in self.info.axes and n != 1]
        return (*(sizes.get(a, 1) for a in self.info.axes), *(sizes[a] for a in extra))

    @property
    def _letters(self) -> str:
        """Axes of the file, in the image's letters: some formats store colour samples as channels."""
        axes = self.source.info.axes
        for ours, theirs in ("SC", "CS"):
            if ours in self.info.axes and ours not in axes and theirs not in self.info.axes:
                axes = axes.replace(theirs, ours)
        return axes

    def __getitem__(self, region: Region) -> NDArray[Any]:
        """Read ``region``, one slice per axis of the image."""
        letters, axes = self._letters, self.info.axes
        parts = dict(zip(axes, region, strict=True))
        block = self.source.read(tuple(parts.get(a, slice(0, 1)) for a in letters))
        kept = [a for a in letters if a in axes]
        block = block.squeeze(tuple(i for i, a in enumerate(letters) if a not in axes))
        block = block.transpose([kept.index(a) for a in axes if a in kept])
        return np.expand_dims(block, tuple(i for i, a in enumerate(axes) if a not in kept))


@dataclass
class CheckSink:
    """An `ImageSink` that writes nothing: it compares each block with the finished output.

    Attributes
    ----------
    levels : list of Stored
        The image, and its smaller levels.
    sides : dict
        Arrays beside the image, by the names that a run uses: ``context``, ``spread``.
    width_of : callable
        Returns the width of a region's intensity range.
    found : list of (Region, Difference)
        Each with the region of the image that was restored as one.
    """

    uri: str
    info: ImageInfo
    write_unit: tuple[int, ...]
    levels: list[Stored]
    sides: Mapping[str, Stored]
    agreement: Agreement
    width_of: Callable[[Region], float]
    image: str = ""
    found: list[tuple[Region, Difference]] = field(default_factory=list)
    inexact: int = 0  # blocks that differ, but only within the bound
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __setitem__(self, region: Region, block: NDArray[Any]) -> None:
        self.write(region, block)

    def write(self, region: Region, block: NDArray[Any], **sides: NDArray[Any]) -> None:
        """Compare a restored block, the arrays beside it, and the smaller levels under it."""
        self._compare(region, region, self.levels[0], block, "")
        for name, side in sides.items():
            if name in self.sides:
                self._compare(region, region, self.sides[name], side, f" of {name}")
        for level in range(1, len(self.levels)):
            self._level(region, level)

    def finish(self, provenance: dict[str, Any]) -> None:
        """Do nothing: nothing is written."""

    def abort(self) -> None:
        """Do nothing: nothing was written."""

    def _level(self, region: Region, level: int) -> None:
        """Reduce the stored level above, and compare: each level follows from the level above it."""
        fine, coarse = self.levels[level - 1], self.levels[level]
        axes, shape = self.info.axes, coarse.shape
        small = tuple(
            slice(part.start >> level, min(-(-part.stop >> level), n)) if a in "YX" else part
            for part, n, a in zip(region, shape, axes, strict=True)
        )
        try:
            expected = fill_region(fine, small, fine_shape=fine.shape, axes=axes, nodata=self.info.nodata)  # type: ignore[arg-type]  # it is only read
        except Swin2SROpsError:
            return  # the level above cannot be read, and is already reported
        self._compare(region, small, coarse, expected, f" of level {level}", exact=True)

    def _compare(
        self, owner: Region, region: Region, stored: Stored, block: NDArray[Any], what: str, *, exact: bool = False
    ) -> None:
        place = place_of(region, self.info.axes) + what
        try:
            there = stored[region]
        except Swin2SROpsError as exc:
            self._note(owner, Difference(self.image, place, reason=f"cannot be read: {exc}"))
            return
        differs = _bits(there) != _bits(block)
        if not differs.any():
            return
        gap = np.abs(there.astype(np.float64) - block.astype(np.float64))
        gap[np.isnan(there.astype(np.float64)) & np.isnan(block.astype(np.float64))] = 0
        largest = float(gap.max()) if np.isfinite(gap).all() else float("inf")
        if not exact and self.agreement.bound and largest <= self.agreement.allowed(self.width_of(owner), block.dtype):
            with self._lock:
                self.inexact += 1
            return
        self._note(owner, Difference(self.image, place, int(differs.sum()), largest))

    def _note(self, owner: Region, difference: Difference) -> None:
        with self._lock:
            self.found.append((owner, difference))


def place_of(region: Region, axes: str) -> str:
    """Describe a region: ``c=1 y=0:512 x=0:512``."""
    parts = (
        f"{a.lower()}={p.start}" if p.stop - p.start == 1 and a not in "YX" else f"{a.lower()}={p.start}:{p.stop}"
        for p, a in zip(region, axes, strict=True)
        if a != "S"
    )
    return " ".join(parts)


def _bits(block: NDArray[Any]) -> NDArray[Any]:
    """Return the stored bits as integers: NaN equals itself, and -0 is not 0."""
    block = np.ascontiguousarray(block, block.dtype.newbyteorder("="))
    return block.view(f"u{block.dtype.itemsize}")

"""Arrays that are transparent where nothing has been painted yet. No Qt here."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from swin2sr_ops.hosting import Region

__all__ = ["Overview", "blank", "paint"]


def blank(shape: tuple[int, ...], axes: str, dtype: DTypeLike) -> NDArray[Any]:
    """A transparent image: NaN where there is one value per pixel, opacity 0 where there are colours."""
    if "S" not in axes:
        return np.full(shape, np.nan, np.float64 if np.dtype(dtype) == np.float64 else np.float32)
    return np.zeros((*shape[:-1], 4), dtype)


def paint(canvas: NDArray[Any], region: Region, block: NDArray[Any], axes: str) -> None:
    """Put ``block`` into ``region`` of what `blank` made."""
    if "S" not in axes:
        canvas[region] = block
        return
    opaque = 1 if block.dtype.kind == "f" else np.iinfo(block.dtype).max
    canvas[(*region[:-1], slice(0, 3))] = block[..., :3]
    canvas[(*region[:-1], slice(3, 4))] = block[..., 3:4] if block.shape[-1] == 4 else opaque


class Overview:
    """A small picture of a result that grows on disk: every ``step``-th pixel along Y and X.

    Parameters
    ----------
    shape, axes, dtype
        Of the result.
    side, budget : int
        Pixels along Y and X, and bytes, that it may have at most.
    """

    def __init__(
        self, shape: tuple[int, ...], axes: str, dtype: DTypeLike, side: int = 2048, budget: int = 256 << 20
    ) -> None:
        self.axes, self.step = axes, 1
        while True:
            small = tuple(-(-n // self.step) if a in "YX" else n for n, a in zip(shape, axes, strict=True))
            longest = max(n for n, a in zip(small, axes, strict=True) if a in "YX")
            if longest <= side and (4 * int(np.prod(small, dtype=np.int64)) <= budget or longest <= 1):
                break
            self.step *= 2
        self.array = blank(small, axes, dtype)
        self.painted = False
        self._lock = threading.Lock()

    def put(self, region: Region, block: NDArray[Any]) -> None:
        """Note a finished region."""
        target, taken = [], []
        for part, a in zip(region, self.axes, strict=True):
            step = self.step if a in "YX" else 1
            first = -(-part.start // step)
            target.append(slice(first, -(-part.stop // step)))
            taken.append(slice(first * step - part.start, None, step))
        with self._lock:
            paint(self.array, tuple(target), block[tuple(taken)], self.axes)
            self.painted = True

"""Flag restored pixels that are not trusted: the interval is too wide, or the result contradicts its input."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.placement import Consistency

__all__ = ["NO_VALUE", "OFF", "TRUSTED", "WIDE", "Trust"]

#: The pixel passes both tests.
TRUSTED = 0
#: The half width of its interval is above the limit.
WIDE = 1
#: The mean of the new pixels of its input pixel is off by more than the noise; 3 is both.
OFF = 2
#: The pixel is a hole.
NO_VALUE = 4


@dataclass(frozen=True)
class Trust:
    """The two tests, each with its threshold in stored units; None leaves a test out.

    Attributes
    ----------
    limit : float, optional
        Widest half width of an interval that is trusted.
    noise : float, optional
        How far the mean of the new pixels of an input pixel may be from it.
    """

    limit: float | None = None
    noise: float | None = None

    @classmethod
    def of(
        cls, limit: float | None, noise: float | None, *, interval: bool, consistent: str | None = None
    ) -> Trust | None:
        """Check what was asked for; None if nothing was.

        Raises
        ------
        RequestError
            If a threshold is negative or infinite, or the test cannot be made.
        """
        if limit is None and noise is None:
            return None
        for name, value in (("limit", limit), ("noise", noise)):
            if value is not None and not 0 <= value < math.inf:
                raise RequestError(f"{name}={value!r} is not valid: give a number of stored units, such as 20.")
        if limit is not None and not interval:
            raise RequestError(
                "limit compares the half widths of intervals: give interval and calibration with it (--interval 90"
                " --calibration FILE)."
            )
        asked = Consistency.parse(consistent)
        if noise is not None and asked is not None and (asked.psf or asked.kernel):
            raise RequestError(
                f"noise compares means with the input, and consistent={consistent!r} binds the result through a blur:"
                " leave out noise."
            )
        return cls(limit, noise)

    def flags(
        self,
        result: NDArray[Any],
        given: NDArray[Any],
        half: NDArray[np.float32] | None,
        axes: tuple[int, int],
        colour: int | None,
    ) -> NDArray[np.uint8]:
        """Flag each pixel of a restored block.

        Parameters
        ----------
        result, given : ndarray
            The block, and the input pixels that it was restored from.
        half : ndarray of float32, optional
            Half widths of the block's intervals.
        axes : (int, int)
            The axes of rows and columns.
        colour : int, optional
            The axis of colours: a pixel is as trusted as its worst colour.
        """
        flags = np.zeros(result.shape, np.uint8)
        if self.limit is not None and half is not None:
            with np.errstate(invalid="ignore"):
                flags[half > self.limit] |= WIDE
        if self.noise is not None:
            scale = result.shape[axes[0]] // given.shape[axes[0]]
            with np.errstate(invalid="ignore"):
                off = np.abs(_means(result, scale, axes) - given.astype(np.float64)) > self.noise
            flags[off.repeat(scale, axes[0]).repeat(scale, axes[1])] |= OFF
        if colour is not None:
            worst = np.bitwise_or.reduce(flags, axis=colour, keepdims=True)
            flags = np.broadcast_to(worst, flags.shape).copy()
        return flags

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, for the provenance."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Trust:
        """Build it from the result of `to_dict`."""
        return cls(**found)


def _means(result: NDArray[Any], scale: int, axes: tuple[int, int]) -> NDArray[np.float64]:
    """Mean of each block of new pixels, summed in the same order for any shape."""
    total: NDArray[np.float64] | None = None
    index: list[Any] = [slice(None)] * result.ndim
    for y in range(scale):
        for x in range(scale):
            index[axes[0]], index[axes[1]] = slice(y, None, scale), slice(x, None, scale)
            part = result[tuple(index)].astype(np.float64)
            total = part if total is None else total + part
    assert total is not None
    return total / scale**2

"""Derive attention's constants from its weights, in sums and functions of our own, whose bits are fixed."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.native.planes import address

__all__ = ["cosine_bias", "exponential", "table_bias"]

_LN2 = (0.693147180369123816490, 1.90821492927058770002e-10)  # in two parts, the first with zeros at its end


def table_bias(table: NDArray[Any], window: int) -> NDArray[Any]:
    """Return the bias of each pair of pixels, ``(heads, P, P)``, from one row for each of their distances."""
    steps = np.arange(window)
    row, column = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    down, across = (axis[:, None] - axis[None, :] + window - 1 for axis in (row, column))
    return table[down * (2 * window - 1) + across].transpose(2, 0, 1)


def cosine_bias(kernels: ctypes.CDLL, given: Mapping[str, NDArray[Any]], path: str, window: int) -> NDArray[Any]:
    """Return the continuous position bias of Swin V2 for each pair of pixels, ``(heads, P, P)``, float32."""
    first, out = given[f"{path}.cpb_mlp.0.weight"], given[f"{path}.cpb_mlp.2.weight"]
    weights = [np.ascontiguousarray(v, np.float32) for v in (first, given[f"{path}.cpb_mlp.0.bias"], out)]
    places = _coordinates(window)
    found, scratch = np.empty((len(out), places.shape[1])), np.empty(places.shape[1])
    arrays: list[NDArray[Any]] = [places, *weights, found, scratch]
    kernels.swin_position(places.shape[1], len(first), len(out), *(address(array) for array in arrays))
    return table_bias((16.0 / (1.0 + exponential(-found))).astype(np.float32).T, window)


def _coordinates(window: int) -> NDArray[np.float64]:
    """Return log-spaced distances, ``(2, (2w-1)^2)`` (Swin V2, eq. 4; scaled to 8 as in its code).

    They are float32 numbers in the official code.
    """
    steps = (i * 8 / (window - 1) for i in range(-(window - 1), window))
    logs = [math.copysign(math.log2(abs(s) + 1) / 3, s) for s in steps]
    return np.stack(np.meshgrid(logs, logs, indexing="ij")).reshape(2, -1).astype(np.float32).astype(np.float64)


def exponential(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return e^x by additions and products alone: libraries' own functions differ in the last bit."""
    x = np.clip(x, -700.0, 700.0)
    n = np.rint(x * 1.4426950408889634)
    r = (x - n * _LN2[0]) - n * _LN2[1]
    series = np.ones_like(r)
    for k in range(14, 0, -1):
        series = 1.0 + series * r / k
    return np.ldexp(series, np.nan_to_num(n).astype(np.int32))  # what is no number stays none

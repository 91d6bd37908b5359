"""Plan the back-projection that binds a restored image to its input through a blur: weights, steps, margin.

The blur works along each axis alone: the value of an input pixel is a weighted sum of the new pixels around it. This
module holds those weights, the inverse that a step applies, and how many more pixels the steps read. It imports no
array library, so a plan counts the margin before anything runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from swin2sr_ops.errors import RequestError
from swin2sr_ops.placement import Consistency

__all__ = ["STEPS", "Blur", "blur_of", "gain_of", "margin_of"]

#: Number of back-projection steps.
STEPS = 2
#: Largest part of a gap that one step leaves along one axis, whatever the gap's frequency.
_LEFT = 0.01
#: The finest detail of the input that the blur must keep, as a share of the power of an even area.
_KEPT = 0.01
#: Where a Gaussian is cut, in standard deviations.
_CUT = 4
#: Bits after the point of the weights: the last bits of an error function differ between machines.
_BITS = 40
#: Input pixels on each side for which the inverse is solved; it has long faded there.
_FAR = 160


@dataclass(frozen=True)
class Blur:
    """A symmetric blur along one axis, from new pixels to input pixels, and its inverse.

    Attributes
    ----------
    scale : int
        New pixels per input pixel.
    weights : tuple of float
        Of the new pixels around the centre of an input pixel; their sum is 1.
    inverse : tuple of float
        Weights of the input pixels at distance 0, 1, 2 ...: the inverse of the blur after its transpose.
    """

    scale: int
    weights: tuple[float, ...]
    inverse: tuple[float, ...]

    @property
    def reach(self) -> int:
        """Input pixels on each side whose new pixels have a weight."""
        return -(-((len(self.weights) - self.scale) // 2) // self.scale)

    @property
    def margin(self) -> int:
        """Input pixels on each side that the result of a pixel depends on through all steps."""
        return STEPS * (2 * self.reach + len(self.inverse) - 1)


def gain_of(consistent: str | None, scale: int) -> float:
    """Return by how much a difference of the network's values can grow in a bound result, at most."""
    blur = blur_of(consistent, scale)
    if blur is None:
        return 1.0 if consistent is None else 2.0  # a mean moves by no more than its pixels
    s, w, n = scale, blur.weights, len(blur.inverse) - 1
    before = (len(w) - s) // 2
    sharp: dict[int, float] = {}  # the inverse after the blur: weights of new pixels in the change of input pixel 0
    for k in range(-n, n + 1):
        for i, weight in enumerate(w):
            sharp[k * s + i] = sharp.get(k * s + i, 0.0) + blur.inverse[abs(k)] * weight
    largest = 0.0
    for phase in range(s):
        row: dict[int, float] = {}
        for k in range(-blur.reach, blur.reach + 1):
            at = before + phase - k * s
            for i, value in sharp.items() if 0 <= at < len(w) else ():
                row[k * s + i] = row.get(k * s + i, 0.0) + w[at] * value
        largest = max(largest, math.fsum(map(abs, row.values())))
    return 1 + largest**2


def margin_of(consistent: str | None, scale: int) -> int:
    """Return the input pixels that a consistency reads around each tile; zero for ``"mean"`` and None."""
    blur = blur_of(consistent, scale)
    return 0 if blur is None else blur.margin


@lru_cache(maxsize=64)
def blur_of(consistent: str | None, scale: int) -> Blur | None:
    """Return the blur that a consistency states, at a scale; None for ``"mean"`` and None.

    Raises
    ------
    RequestError
        If the blur removes fine detail of the input, or the kernel does not fit the scale.
    """
    asked = Consistency.parse(consistent)
    if asked is None or not (asked.psf or asked.kernel):
        return None
    weights = _normalised(asked.kernel) if asked.kernel else _gaussian(asked.psf, scale)
    if len(weights) < scale or (len(weights) - scale) % 2:
        raise RequestError(
            f"consistent={consistent!r}: the kernel has {len(weights)} weights, and a pixel becomes {scale} new ones"
            f" along each axis. Give {scale} weights, or {scale + 2}, {scale + 4} ..., so that they surround the pixel."
        )
    gram = tuple(
        sum(weights[i] * weights[i + scale * k] for i in range(len(weights) - scale * k))
        for k in range((len(weights) - 1) // scale + 1)
    )
    kept = min(_response(gram, i / 512) for i in range(257)) / _response(gram, 0.0)
    if kept < _KEPT:
        raise RequestError(
            f"consistent={consistent!r} blurs too much: of the finest detail of the input {kept:.1g} of its power is"
            f" left (at least {_KEPT:g} is needed), so noise would grow {1 / max(kept, 1e-9) ** 0.5:.0f} times along"
            " each axis. Give a narrower blur, such as psf=0.5."
        )
    return Blur(scale, weights, _inverse(gram))


def _gaussian(sigma: float, scale: int) -> tuple[float, ...]:
    """Weights of new pixels in the light on an input pixel, after a Gaussian blur of ``sigma`` input pixels.

    New pixels are even squares, and the input pixel is the mean over its area: two integrals of the Gaussian.
    """
    deviation = sigma * scale
    more = math.ceil(_CUT * deviation)

    def twice(x: float) -> float:
        z = x / deviation
        return deviation * (z * math.erf(z / math.sqrt(2)) / 2 + math.exp(-z * z / 2) / math.sqrt(2 * math.pi))

    return _normalised(
        tuple(
            max(twice(scale - j) - twice(scale - j - 1) - twice(-j) + twice(-j - 1), 0.0)
            for j in range(-more, scale + more)
        )
    )


def _normalised(weights: tuple[float, ...]) -> tuple[float, ...]:
    """Scale to the sum 1 and make both halves equal, in numbers that every machine rounds alike."""
    total = math.fsum(weights)
    half = [(a + b) / 2 for a, b in zip(weights, reversed(weights), strict=True)]
    return tuple(_round(value / total) for value in half)


def _round(value: float) -> float:
    return float(round(value * 2.0**_BITS) / 2.0**_BITS)


def _response(symmetric: tuple[float, ...], frequency: float) -> float:
    """Return a symmetric filter's response at a frequency in cycles per pixel."""
    turn = 2 * math.pi * frequency
    return symmetric[0] + 2 * math.fsum(v * math.cos(turn * k) for k, v in enumerate(symmetric) if k)


def _inverse(gram: tuple[float, ...]) -> tuple[float, ...]:
    """Return the shortest cut of the inverse of a symmetric filter that leaves at most `_LEFT` of any frequency."""
    whole = _solve(gram)
    for length in range(1, len(whole)):
        part = whole[:length]
        even = _response(gram, 0.0) * _response(part, 0.0)
        part = tuple(_round(value / even) for value in part)
        if all(abs(1 - _response(gram, i / 128) * _response(part, i / 128)) <= _LEFT for i in range(65)):
            return part
    return whole


def _solve(gram: tuple[float, ...]) -> tuple[float, ...]:
    """Solve the banded system whose rows are ``gram`` for a single one in the middle; return one half of it."""
    size, band = 2 * _FAR + 1, len(gram) - 1
    rows = [{j: gram[abs(i - j)] for j in range(max(0, i - band), min(size, i + band + 1))} for i in range(size)]
    right = [float(i == _FAR) for i in range(size)]
    for i in range(size):
        for below in range(i + 1, min(size, i + band + 1)):
            factor = rows[below].get(i, 0.0) / rows[i][i]
            for j in range(i, min(size, i + band + 1)):
                rows[below][j] = rows[below].get(j, 0.0) - factor * rows[i].get(j, 0.0)
            right[below] -= factor * right[i]
    found = [0.0] * size
    for i in reversed(range(size)):
        rest = sum(rows[i].get(j, 0.0) * found[j] for j in range(i + 1, min(size, i + band + 1)))
        found[i] = (right[i] - rest) / rows[i][i]
    return tuple(found[_FAR:])

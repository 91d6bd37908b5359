"""Heads, and other convolutions in a row, as layers that give rows."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import partial

from swin2sr_ops.engine.native.planes import Borders, Plane, Range
from swin2sr_ops.engine.native.rows import Bicubic, Convolved, Layer, Stored
from swin2sr_ops.engine.native.weights import Conv, Weights

__all__ = ["Head", "chain"]

#: Function from the columns that will be read to the layer that gives them.
Maker = Callable[[Range], Layer]


def chain(kernels: ctypes.CDLL, borders: Borders, first: Maker, convs: Sequence[Conv]) -> Maker:
    """Convolutions one behind another."""
    for conv in convs:
        first = partial(_convolved, kernels, borders, conv, first, None)
    return first


def _convolved(
    kernels: ctypes.CDLL, borders: Borders, conv: Conv, source: Maker, plus: Maker | None, columns: Range
) -> Layer:
    return Convolved(kernels, borders, conv, columns, source, plus)


def stored(plane: Plane) -> Maker:
    """A plane that is there, whichever columns are read."""
    return lambda columns: Stored(plane)


class Head:
    """The head of a network: from features to its result before it is denormalised.

    Attributes
    ----------
    shuffle : int
        Pixels beside each other that the channels of one pixel of its result still are.
    light : bool
        Whether it is one convolution, whose rows cost little memory.
    """

    def __init__(self, weights: Weights) -> None:
        spec = self._spec = weights.spec
        self._kernels = weights.kernels
        self.shuffle, self.light = 1, spec.upsampler in ("", "pixelshuffledirect")
        self._branches: list[list[Conv]] = []
        if spec.upsampler == "":
            self._branches = [[weights.conv("conv_last")]]
        elif spec.upsampler == "pixelshuffledirect":
            self.shuffle = spec.scale
            self._branches = [[weights.conv("upsample.0")]]
        elif spec.upsampler == "nearest+conv":
            ups = [weights.enlarged(f"conv_up{i}", 0.2) for i in range(1, spec.scale.bit_length())]
            last = [weights.conv("conv_hr", 0.2), weights.conv("conv_last")]
            self._branches = [[_before(weights), *ups, *last]]
        elif spec.upsampler == "pixelshuffle_aux":
            again = [weights.conv("conv_aux"), weights.conv("conv_after_aux.0", 0.01)]
            self._branches = [[_before(weights), *again, *_ups(weights, "upsample")]]
            self._enlarged, self._last = weights.conv("conv_bicubic"), weights.conv("conv_last")
        elif spec.upsampler == "pixelshuffle_hf":
            again = [weights.conv("conv_before_upsample_hf.0", 0.01)]
            fine = [*again, *_ups(weights, "upsample_hf"), weights.conv("conv_last_hf")]
            self._branches = [[*_ups(weights, "upsample"), weights.conv("conv_last")], fine]
        else:
            self._branches = [[_before(weights), *_ups(weights, "upsample"), weights.conv("conv_last")]]

    def result(self, borders: Borders, features: Plane, image: Plane, before: Plane | None, columns: Range) -> Layer:
        """Return the layer that gives the result's rows.

        Parameters
        ----------
        borders : Borders
            Of the image.
        features : Plane
            What the trunk, or the second one, gives.
        image : Plane
            The network's input.
        before : Plane, optional
            Where both trunks of the high-frequency head start.
        columns : (int, int)
            Those that will be read, at the result's own resolution.
        """
        kernels, kind = self._kernels, self._spec.upsampler
        source = stored(features)
        if kind == "":
            (last,) = self._branches[0]
            return _convolved(kernels, borders, last, source, stored(image), columns)
        if kind == "pixelshuffle_aux":
            fine = chain(kernels, borders, source, self._branches[0])
            enlarged = partial(_bicubic, kernels, borders, self._spec.scale, image)
            both = partial(_convolved, kernels, borders, self._enlarged, enlarged, fine)
            return _convolved(kernels, borders, self._last, both, None, columns)
        if kind == "pixelshuffle_hf":
            assert before is not None
            base = chain(kernels, borders, stored(before), self._branches[0])
            *convs, last = self._branches[1]
            return _convolved(kernels, borders, last, chain(kernels, borders, source, convs), base, columns)
        return chain(kernels, borders, source, self._branches[0])(columns)


def _bicubic(kernels: ctypes.CDLL, borders: Borders, factor: int, image: Plane, columns: Range) -> Layer:
    return Bicubic(kernels, borders, factor, columns, image)


def _before(weights: Weights) -> Conv:
    return weights.conv("conv_before_upsample.0", 0.01)


def _ups(weights: Weights, path: str) -> list[Conv]:
    """Convolutions with their pixel shuffles."""
    factors = [3] if weights.spec.scale == 3 else [2] * (weights.spec.scale.bit_length() - 1)
    return [weights.shuffled(f"{path}.{2 * i}", factor) for i, factor in enumerate(factors)]

"""Measure how far a network sees, if it cannot be proven, with the network itself on the CPU.

The centre of an image is restored from parts of the image, and compared with the same pixels of one
pass over the whole image. Parts with odd offsets reveal the grid of the network's own windows and
strides; larger and larger surroundings reveal how far it sees. The images are noise of all scales,
always the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Measured", "Restoring", "activation_bytes", "measured_reach"]

#: Largest invisible difference: half a grey level of 8 bits.
_UNSEEN = 0.5 / 255
#: An improvement by less than this factor does not count.
_GAIN = 0.8
_MIDDLE = 32  # pixels, about
_FARTHEST = 96  # pixels, about
_COARSEST = 64  # pixels: windows of 8 after three strides of 2
_IMAGES = 2
#: Safety factor: the errors on some images are not the largest possible ones.
_CAUTION = 2.0


class Restoring(Protocol):
    """A module that maps ``(1, C, H, W)`` of any size to ``(1, C, H scale, W scale)``."""

    scale: int

    def __call__(self, image: Tensor, /) -> Tensor: ...

    def modules(self) -> Iterator[nn.Module]: ...


@dataclass(frozen=True)
class Measured:
    """The result of a measurement.

    Attributes
    ----------
    window : int
        Grid on which reads must start.
    halo : int
        Smallest halo without a visible difference, or beyond which a larger one does not help.
    errors : dict
        Twice the largest measured difference, in fractions of the full range, by halo.
    """

    window: int
    halo: int
    errors: dict[str, float] = field(default_factory=dict)


def measured_reach(network: Restoring, channels: int, window: int) -> Measured:
    """Measure ``network``, whose grid is a multiple of ``window``."""
    images = _Images(network, channels)
    with torch.inference_mode():
        window = _grid(images, window)
        halos = [n * window for n in (1, 2, 3, 4, 6, 8, 12) if n * window <= max(_FARTHEST, 2 * window)]
        errors = {halo: max(images.errors(halo, window, halos[-1])) for halo in halos}
    return Measured(window, _enough(errors), {str(h): _CAUTION * error for h, error in errors.items()})


def _grid(images: _Images, window: int) -> int:
    """Return the finest grid without loss: the parts start on it, and not on a coarser one."""
    grids = [window * n for n in (1, 2, 4, 8) if n == 1 or window * n <= _COARSEST]
    near = {grid: 2 * round((_COARSEST / grid - 1) / 2) * grid + grid for grid in grids}  # odd multiples
    far = math.lcm(*grids) * -(-max(near.values()) // math.lcm(*grids))
    return _enough({grid: images.errors(near[grid], grid, far)[0] for grid in grids}, _UNSEEN / 10)


def _enough(errors: dict[int, float], unseen: float = _UNSEEN) -> int:
    best = min(errors.values())
    return next(n for n, error in errors.items() if error <= max(unseen, best / _GAIN))


class _Images:
    """Noise images with correlated pixels, and the network's results for whole images."""

    def __init__(self, network: Restoring, channels: int) -> None:
        self.network, self.channels = network, channels
        self._whole: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def errors(self, halo: int, window: int, far: int) -> list[float]:
        """Return the largest difference in the centre of each image if only ``halo`` pixels around it are read.

        ``far`` pixels lie around it in the whole image.
        """
        s, side = self.network.scale, -(-_MIDDLE // window) * window
        lo, hi = far - halo, far + side + halo
        found = []
        for image, whole in self._wholes(2 * far + side):
            part = self.network(image[..., lo:hi, lo:hi])
            inner, outer = (slice(first * s, (first + side) * s) for first in (halo, far))
            found.append(float((part[..., inner, inner] - whole[..., outer, outer]).abs().max()))
        return found

    def _wholes(self, side: int) -> list[tuple[Tensor, Tensor]]:
        if side not in self._whole:
            self._whole = {side: [(image, self.network(image)) for image in _noise(self.channels, side)]}
        return self._whole[side]


def _noise(channels: int, side: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(_IMAGES):
        image = torch.zeros(1, channels, side, side)
        for octave in (1, 2, 4, 8, 16, 32):
            noise = torch.randn(1, channels, -(-side // octave), -(-side // octave), generator=generator)
            image += F.interpolate(noise, size=(side, side), mode="bicubic") * octave**0.5
        low, high = image.min(), image.max()
        yield (image - low) / (high - low)


def activation_bytes(network: Restoring, channels: int, side: int) -> int:
    """Memory for each input pixel at the peak of a pass, about: four times the largest plane of any layer."""
    largest = 0

    def look(_layer: nn.Module, _given: object, result: object) -> None:
        nonlocal largest
        if isinstance(result, Tensor):
            largest = max(largest, result.numel() * result.element_size())

    handles = [layer.register_forward_hook(look) for layer in network.modules()]
    try:
        with torch.inference_mode():
            network(torch.full((1, channels, side, side), 0.5))
    finally:
        for handle in handles:
            handle.remove()
    return 4 * largest // side**2

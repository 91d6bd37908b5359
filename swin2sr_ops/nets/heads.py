"""Define the reconstruction heads once for two ways of running them.

`PlaneOps` runs a head on whole planes with zero padding (training, parity tests). `PatchOps` runs it on
a patch of a plane with valid convolutions and knows the borders of the image, so that a patch has
exactly the pixels of the plane (the tile engine). Tensors are ``(B, C, H, W)``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Patch", "PatchOps", "PlaneOps", "before_upsample", "reconstruct"]

X = TypeVar("X")


class Ops(Protocol, Generic[X]):
    """Operations that a head may apply to its pixels."""

    def conv(self, module: nn.Module, x: X) -> X: ...
    def lrelu(self, x: X, slope: float) -> X: ...
    def shuffle(self, x: X, factor: int) -> X: ...
    def nearest(self, x: X, factor: int) -> X: ...
    def bicubic(self, x: X, factor: int) -> X: ...
    def add(self, a: X, b: X) -> X: ...
    def first(self, x: X, channels: int) -> X: ...


def before_upsample(net: Any, features: X, ops: Ops[X]) -> X:
    """Compute ``conv_before_upsample``, the start of the high-frequency branch."""
    return ops.lrelu(ops.conv(net.conv_before_upsample[0], features), 0.01)


def reconstruct(net: Any, features: X, image: X, ops: Ops[X], before: X | None = None) -> dict[str, X]:
    """Run the head of ``net``.

    Parameters
    ----------
    net : SwinNet
        Has the convolutions, under their official names.
    features, image
        Output of the trunk (of the second trunk for ``pixelshuffle_hf``) and the normalised input.
    before
        For ``pixelshuffle_hf``: the first branch's features (`before_upsample`).

    Returns
    -------
    dict
        ``image``, the result before denormalisation; ``aux``, at input size, for compressed
        super-resolution; ``base`` and ``hf`` for the high-frequency head.
    """
    kind = net.spec.upsampler
    if kind == "":
        return {"image": ops.add(ops.conv(net.conv_last, features), ops.first(image, net.spec.channels))}
    if kind == "pixelshuffledirect":
        return {"image": ops.shuffle(ops.conv(net.upsample[0], features), net.spec.scale)}
    if kind == "nearest+conv":
        return {"image": _nearest_conv(net, features, ops)}
    if kind == "pixelshuffle_aux":
        aux = ops.conv(net.conv_aux, before_upsample(net, features, ops))
        x = ops.lrelu(ops.conv(net.conv_after_aux[0], aux), 0.01)
        enlarged = ops.conv(net.conv_bicubic, ops.bicubic(image, net.spec.scale))
        x = ops.add(_upsample(net.upsample, x, ops), enlarged)
        return {"image": ops.conv(net.conv_last, x), "aux": aux}
    if kind == "pixelshuffle_hf":
        base = ops.conv(net.conv_last, _upsample(net.upsample, cast(X, before), ops))
        x = ops.lrelu(ops.conv(net.conv_before_upsample_hf[0], features), 0.01)
        hf = ops.conv(net.conv_last_hf, _upsample(net.upsample_hf, x, ops))
        return {"image": ops.add(base, hf), "base": base, "hf": hf}
    x = before_upsample(net, features, ops)
    return {"image": ops.conv(net.conv_last, _upsample(net.upsample, x, ops))}


def _upsample(stages: nn.Sequential, x: X, ops: Ops[X]) -> X:
    for stage in stages:
        x = ops.shuffle(x, stage.upscale_factor) if isinstance(stage, nn.PixelShuffle) else ops.conv(stage, x)
    return x


def _nearest_conv(net: Any, features: X, ops: Ops[X]) -> X:
    x = before_upsample(net, features, ops)
    for i in range(1, net.spec.scale.bit_length()):
        x = ops.lrelu(ops.conv(getattr(net, f"conv_up{i}"), ops.nearest(x, 2)), 0.2)
    return ops.conv(net.conv_last, ops.lrelu(ops.conv(net.conv_hr, x), 0.2))


class PlaneOps:
    """Run operations on whole planes: plain tensors, zero padding at the borders."""

    def conv(self, module: nn.Module, x: Tensor) -> Tensor:
        return module(x)  # type: ignore[no-any-return]

    def lrelu(self, x: Tensor, slope: float) -> Tensor:
        return F.leaky_relu(x, slope)

    def shuffle(self, x: Tensor, factor: int) -> Tensor:
        return F.pixel_shuffle(x, factor)

    def nearest(self, x: Tensor, factor: int) -> Tensor:
        return F.interpolate(x, scale_factor=factor, mode="nearest")

    def bicubic(self, x: Tensor, factor: int) -> Tensor:
        height, width = x.shape[-2:]
        rows = torch.arange(-2, height + 2, device=x.device).clamp_(0, height - 1)
        columns = torch.arange(-2, width + 2, device=x.device).clamp_(0, width - 1)
        return _bicubic_valid(x[..., rows, :][..., columns], factor)

    def add(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b

    def first(self, x: Tensor, channels: int) -> Tensor:
        return x[:, :channels]


@dataclass(frozen=True)
class Patch:
    """Rectangles of a plane, all of the same size: their pixels, where each starts, and their resolution.

    ``places`` gives the first row and column of each, at this resolution, counted from the image's first pixel;
    ``resolution`` is in pixels per input pixel.
    """

    data: Tensor  # (rectangles, C, H, W)
    places: tuple[tuple[int, int], ...]
    resolution: int = 1

    def inner(self, data: Tensor, border: int) -> Patch:
        """Return a patch of ``data``, which lacks ``border`` pixels on every side."""
        return replace(self, data=data, places=tuple((top + border, left + border) for top, left in self.places))

    def finer(self, data: Tensor, factor: int) -> Patch:
        """Return a patch of ``data``, which has ``factor`` times the resolution."""
        places = tuple((top * factor, left * factor) for top, left in self.places)
        return Patch(data, places, self.resolution * factor)


@dataclass(frozen=True)
class PatchOps:
    """Run operations on patches: valid convolutions; pixels outside the image stay zero between layers.

    ``borders`` are the ends of the image, ``((top, bottom), (left, right))`` in input pixels.
    """

    borders: tuple[tuple[int, int], tuple[int, int]]

    def conv(self, module: nn.Module, x: Patch) -> Patch:
        weight = cast(Tensor, module.weight)
        data = F.conv2d(x.data.to(weight.dtype), weight, cast(Tensor, module.bias))
        return self.blank(x.inner(data, weight.shape[-1] // 2))

    def lrelu(self, x: Patch, slope: float) -> Patch:
        return replace(x, data=F.leaky_relu_(x.data, slope))  # 0 stays 0 outside the image

    def shuffle(self, x: Patch, factor: int) -> Patch:
        return x.finer(F.pixel_shuffle(x.data, factor), factor)

    def nearest(self, x: Patch, factor: int) -> Patch:
        return x.finer(F.interpolate(x.data, scale_factor=factor, mode="nearest"), factor)

    def bicubic(self, x: Patch, factor: int) -> Patch:
        """Enlarge bicubically; beyond the image its last pixel is repeated."""
        (top, bottom), (left, right) = self.borders
        height, width = x.data.shape[-2:]
        parts = []
        for data, (first_row, first_column) in zip(x.data, x.places, strict=True):
            rows = torch.arange(height, device=data.device).clamp_(top - first_row, bottom - 1 - first_row)
            columns = torch.arange(width, device=data.device).clamp_(left - first_column, right - 1 - first_column)
            parts.append(data[:, rows.clamp_(0, height - 1)][..., columns.clamp_(0, width - 1)])
        data = parts[0][None] if len(parts) == 1 else torch.stack(parts)
        return self.blank(x.inner(data, 2).finer(_bicubic_valid(data, factor), factor))

    def add(self, a: Patch, b: Patch) -> Patch:
        # The offset between the two patches is the same for all rectangles.
        (a_top, a_left), (b_top, b_left) = a.places[0], b.places[0]
        top, left = max(a_top, b_top), max(a_left, b_left)
        bottom = min(a_top + a.data.shape[-2], b_top + b.data.shape[-2])
        right = min(a_left + a.data.shape[-1], b_left + b.data.shape[-1])
        part_a = a.data[..., top - a_top : bottom - a_top, left - a_left : right - a_left]
        part_b = b.data[..., top - b_top : bottom - b_top, left - b_left : right - b_left]
        places = tuple((y + top - a_top, x + left - a_left) for y, x in a.places)
        return replace(a, data=part_a + part_b, places=places)

    def first(self, x: Patch, channels: int) -> Patch:
        return replace(x, data=x.data[:, :channels])

    def blank(self, x: Patch) -> Patch:
        """Zero the pixels outside the image, in place: the next convolution sees them as padding."""
        (top, bottom), (left, right) = ((lo * x.resolution, hi * x.resolution) for lo, hi in self.borders)
        height, width = x.data.shape[-2:]
        for data, (first_row, first_column) in zip(x.data, x.places, strict=True):
            if first_row < top:
                data[:, : top - first_row] = 0
            if first_row + height > bottom:
                data[:, max(bottom - first_row, 0) :] = 0
            if first_column < left:
                data[..., : left - first_column] = 0
            if first_column + width > right:
                data[..., max(right - first_column, 0) :] = 0
        return x


def _bicubic_valid(x: Tensor, factor: int) -> Tensor:
    """Enlarge ``(B, C, H + 4, W + 4)`` to ``(B, C, H f, W f)``: cubic convolution, A = -0.75, half-pixel centres.

    Equals ``F.interpolate(mode="bicubic", align_corners=False)``, but the weights depend only on
    the phase, not on a floating-point position in the image.
    """
    kernel = _bicubic_kernel(factor).to(x)  # (f, 5)
    batch, channels = x.shape[:2]
    y = F.conv2d(x.reshape(batch * channels, 1, *x.shape[2:]), kernel[:, None, :, None])
    height, width = y.shape[-2:]
    y = y.transpose(1, 2).reshape(batch * channels, 1, height * factor, width)
    y = F.conv2d(y, kernel[:, None, None, :])  # (BC, f, H f, W)
    y = y.permute(0, 2, 3, 1)
    return y.reshape(batch, channels, height * factor, -1)


def _bicubic_kernel(factor: int) -> Tensor:
    """Compute the weights of the five neighbours -2..2 for each of the ``factor`` phases."""
    phase = (torch.arange(factor, dtype=torch.float64) + 0.5) / factor - 0.5
    distance = (torch.arange(-2, 3, dtype=torch.float64)[None, :] - phase[:, None]).abs()
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    zero = torch.zeros_like(distance)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, zero))

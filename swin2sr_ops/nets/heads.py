"""Reconstruction heads, written once for two ways of running them.

`PlaneOps` runs a head on whole planes with zero padding (training, parity). `PatchOps` runs it on
a patch of a plane with valid convolutions and knows where the image ends, so that a patch gives
the very pixels of the plane (the tile engine). Tensors are ``(B, C, H, W)``.
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
    """What a head may do with its pixels."""

    def conv(self, module: nn.Module, x: X) -> X: ...
    def lrelu(self, x: X, slope: float) -> X: ...
    def shuffle(self, x: X, factor: int) -> X: ...
    def nearest(self, x: X, factor: int) -> X: ...
    def bicubic(self, x: X, factor: int) -> X: ...
    def add(self, a: X, b: X) -> X: ...


def before_upsample(net: Any, features: X, ops: Ops[X]) -> X:
    """``conv_before_upsample``, which the high-frequency branch starts from."""
    return ops.lrelu(ops.conv(net.conv_before_upsample[0], features), 0.01)


def reconstruct(net: Any, features: X, image: X, ops: Ops[X], before: X | None = None) -> dict[str, X]:
    """Run the head of ``net``.

    Parameters
    ----------
    net : SwinNet
        Owner of the convolutions, under their official names.
    features, image
        Output of the trunk (the second trunk for ``pixelshuffle_hf``) and the normalised input.
    before
        For ``pixelshuffle_hf``: the first branch's features (`before_upsample`).

    Returns
    -------
    dict
        ``image``, the result before denormalisation; ``aux`` at input size for compressed
        super-resolution; ``base`` and ``hf`` for the high-frequency head.
    """
    kind = net.spec.upsampler
    if kind == "":
        return {"image": ops.add(ops.conv(net.conv_last, features), image)}
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
    """Whole planes: plain tensors, zero padding at the borders."""

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


@dataclass(frozen=True)
class Patch:
    """A rectangle of a plane: its pixels, where it starts, and its resolution.

    ``top`` and ``left`` count pixels of this resolution from the first pixel of the image;
    ``resolution`` is pixels per input pixel.
    """

    data: Tensor
    top: int
    left: int
    resolution: int = 1


@dataclass(frozen=True)
class PatchOps:
    """Patches: valid convolutions, zeros outside the image kept zero between layers.

    ``borders`` is where the image ends, ``((top, bottom), (left, right))`` in input pixels.
    """

    borders: tuple[tuple[int, int], tuple[int, int]]

    def conv(self, module: nn.Module, x: Patch) -> Patch:
        weight = cast(Tensor, module.weight)
        r = weight.shape[-1] // 2
        data = F.conv2d(x.data.to(weight.dtype), weight, cast(Tensor, module.bias))
        return self.blank(replace(x, data=data, top=x.top + r, left=x.left + r))

    def lrelu(self, x: Patch, slope: float) -> Patch:
        return replace(x, data=F.leaky_relu_(x.data, slope))  # 0 stays 0 outside the image

    def shuffle(self, x: Patch, factor: int) -> Patch:
        return self._finer(x, F.pixel_shuffle(x.data, factor), factor)

    def nearest(self, x: Patch, factor: int) -> Patch:
        return self._finer(x, F.interpolate(x.data, scale_factor=factor, mode="nearest"), factor)

    def bicubic(self, x: Patch, factor: int) -> Patch:
        (top, bottom), (left, right) = self.borders
        height, width = x.data.shape[-2:]
        rows = torch.arange(height, device=x.data.device).clamp_(top - x.top, bottom - 1 - x.top)
        columns = torch.arange(width, device=x.data.device).clamp_(left - x.left, right - 1 - x.left)
        inner = replace(x, top=x.top + 2, left=x.left + 2)
        data = x.data[..., rows.clamp_(0, height - 1), :][..., columns.clamp_(0, width - 1)]
        return self.blank(self._finer(inner, _bicubic_valid(data, factor), factor))

    def add(self, a: Patch, b: Patch) -> Patch:
        top, left = max(a.top, b.top), max(a.left, b.left)
        bottom = min(a.top + a.data.shape[-2], b.top + b.data.shape[-2])
        right = min(a.left + a.data.shape[-1], b.left + b.data.shape[-1])

        def crop(p: Patch) -> Tensor:
            return p.data[..., top - p.top : bottom - p.top, left - p.left : right - p.left]

        return replace(a, data=crop(a) + crop(b), top=top, left=left)

    def blank(self, x: Patch) -> Patch:
        """Zero what lies outside the image, in place: the padding that the next convolution sees."""
        (top, bottom), (left, right) = ((lo * x.resolution, hi * x.resolution) for lo, hi in self.borders)
        height, width = x.data.shape[-2:]
        if x.top < top:
            x.data[..., : top - x.top, :] = 0
        if x.top + height > bottom:
            x.data[..., max(bottom - x.top, 0) :, :] = 0
        if x.left < left:
            x.data[..., : left - x.left] = 0
        if x.left + width > right:
            x.data[..., max(right - x.left, 0) :] = 0
        return x

    @staticmethod
    def _finer(x: Patch, data: Tensor, factor: int) -> Patch:
        return Patch(data, x.top * factor, x.left * factor, x.resolution * factor)


def _bicubic_valid(x: Tensor, factor: int) -> Tensor:
    """Enlarge ``(B, C, H + 4, W + 4)`` to ``(B, C, H f, W f)``: cubic convolution, A = -0.75, half-pixel centres.

    The same numbers as ``F.interpolate(mode="bicubic", align_corners=False)``, but the weights
    depend on the phase alone, not on a floating-point position in the image.
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
    """Weights of the five neighbours -2..2 for each of the ``factor`` phases."""
    phase = (torch.arange(factor, dtype=torch.float64) + 0.5) / factor - 0.5
    distance = (torch.arange(-2, 3, dtype=torch.float64)[None, :] - phase[:, None]).abs()
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    zero = torch.zeros_like(distance)
    return torch.where(distance <= 1, near, torch.where(distance < 2, far, zero))

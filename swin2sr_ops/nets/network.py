"""Build Swin2SR and SwinIR as modules from a `ModelSpec`.

Parameter names are those of the official checkpoints, so their state dicts load unchanged. The forward pass
here runs on whole planes and is differentiable; large images go through `swin2sr_ops.engine.tile_engine`.

References
----------
Conde et al., Swin2SR (arXiv:2209.11345), mv-lab/swin2sr ``models/network_swin2sr.py``;
Liang et al., SwinIR (arXiv:2108.10257), JingyunLiang/SwinIR ``models/network_swinir.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from swin2sr_ops.geometry.plan import pad_index, padded_size
from swin2sr_ops.nets.blocks import PatchEmbed, ResidualStage, SwinBlock, residual_conv
from swin2sr_ops.nets.heads import PlaneOps, before_upsample, reconstruct
from swin2sr_ops.spec import ModelSpec

__all__ = ["RGB_MEAN", "SwinNet", "channel_mean"]

#: Mean of DIV2K, subtracted from three-channel inputs by the official code.
RGB_MEAN = (0.4488, 0.4371, 0.4040)


class SwinNet(nn.Module):
    """Network of a `ModelSpec`, initialised randomly as in the official code."""

    mean: Tensor
    layers_hf: nn.ModuleList
    conv_first_hf: nn.Sequential
    conv_after_body_hf: nn.Conv2d

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.spec = spec
        dim = spec.dim
        cosine = spec.architecture == "swin2sr"
        self.conv_first = nn.Conv2d(spec.inputs, dim, 3, 1, 1)
        self.patch_embed = PatchEmbed(dim, project=cosine, normalise=spec.patch_norm)
        self.layers = _stages(spec)
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = residual_conv(dim, spec.resi_connection)
        _add_head(self, spec)
        self.apply(_initialise)
        self.register_buffer("mean", channel_mean(spec.channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Restore ``(B, C, H, W)`` in 0..1 to ``(B, C, H scale, W scale)``, not clipped.

        A model of several planes takes ``(B, planes, H, W)``, the plane itself first, and restores that one.
        """
        return self.outputs(x)["image"]

    def outputs(self, x: Tensor) -> dict[str, Tensor]:
        """Return all outputs of the head: ``image``, and ``aux`` (input size) or ``base`` and ``hf`` if it has them."""
        height, width = x.shape[-2:]
        ops = PlaneOps()
        image = (_pad(x, self.spec.window) - self.mean) * self.spec.value_range
        features = self._trunk(self.conv_first(image), self.layers, self.conv_after_body)
        before = None
        if self.spec.upsampler == "pixelshuffle_hf":
            before = before_upsample(self, features, ops)
            first = self.conv_first_hf(before)
            features = self._trunk(first, self.layers_hf, self.conv_after_body_hf)
        found = reconstruct(self, features, image, ops, before)
        return {name: self._finish(name, y, height, width) for name, y in found.items()}

    def _trunk(self, first: Tensor, stages: nn.ModuleList, last: nn.Module) -> Tensor:
        plane = self.patch_embed(first.permute(0, 2, 3, 1))  # (B, H, W, C)
        for stage in stages:
            plane = stage(plane)
        return last(self.norm(plane).permute(0, 3, 1, 2)) + first  # type: ignore[no-any-return]

    def _finish(self, name: str, y: Tensor, height: int, width: int) -> Tensor:
        scale = 1 if name == "aux" else self.spec.scale
        y = y[..., : height * scale, : width * scale]
        return self.denormalise(y)

    def denormalise(self, y: Tensor) -> Tensor:
        """Convert network units back to 0..1."""
        return y / self.spec.value_range + self.mean


def channel_mean(channels: int) -> Tensor:
    """Return the mean to subtract from the input, ``(1, C, 1, 1)``; the official state dicts do not contain it."""
    mean = RGB_MEAN if channels == 3 else (0.0,) * channels
    return torch.tensor(mean).view(1, -1, 1, 1)


def _stages(spec: ModelSpec) -> nn.ModuleList:
    cosine = spec.architecture == "swin2sr"
    stages = []
    for depth, heads in zip(spec.depths, spec.heads, strict=True):
        blocks = [
            SwinBlock(
                spec.dim,
                heads,
                spec.window,
                int(spec.dim * spec.mlp_ratio),
                cosine=cosine,
                shift=spec.window // 2 if j % 2 else 0,
                qkv_bias=spec.qkv_bias,
            )
            for j in range(depth)
        ]
        stages.append(ResidualStage(blocks, spec.dim, spec.resi_connection, project=cosine))
    return nn.ModuleList(stages)


def _upsample(scale: int, width: int) -> nn.Sequential:
    factors = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    layers: list[nn.Module] = []
    for r in factors:
        layers += [nn.Conv2d(width, r * r * width, 3, 1, 1), nn.PixelShuffle(r)]
    return nn.Sequential(*layers)


def _conv_lrelu(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.LeakyReLU())


def _add_head(net: SwinNet, spec: ModelSpec) -> None:
    dim, feat, channels = spec.dim, spec.num_feat, spec.channels
    if spec.upsampler == "":
        net.conv_last = nn.Conv2d(dim, channels, 3, 1, 1)
        return
    if spec.upsampler == "pixelshuffledirect":
        net.upsample = nn.Sequential(nn.Conv2d(dim, spec.scale**2 * channels, 3, 1, 1), nn.PixelShuffle(spec.scale))
        return
    net.conv_before_upsample = _conv_lrelu(dim, feat)
    net.conv_last = nn.Conv2d(feat, channels, 3, 1, 1)
    if spec.upsampler == "nearest+conv":
        for i in range(1, spec.scale.bit_length()):
            setattr(net, f"conv_up{i}", nn.Conv2d(feat, feat, 3, 1, 1))
        net.conv_hr = nn.Conv2d(feat, feat, 3, 1, 1)
        return
    net.upsample = _upsample(spec.scale, feat)
    if spec.upsampler == "pixelshuffle_aux":
        net.conv_bicubic = nn.Conv2d(channels, feat, 3, 1, 1)
        net.conv_aux = nn.Conv2d(feat, channels, 3, 1, 1)
        net.conv_after_aux = _conv_lrelu(channels, feat)
    if spec.upsampler == "pixelshuffle_hf":
        net.layers_hf = _stages(spec)
        net.conv_first_hf = _conv_lrelu(feat, dim)
        net.conv_after_body_hf = nn.Conv2d(dim, dim, 3, 1, 1)
        net.conv_before_upsample_hf = _conv_lrelu(dim, feat)
        net.upsample_hf = _upsample(spec.scale, feat)
        net.conv_last_hf = nn.Conv2d(feat, channels, 3, 1, 1)


def _initialise(module: nn.Module) -> None:
    """Initialise linear layers with a truncated normal, as in the official code; convolutions keep torch's default."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _pad(x: Tensor, window: int) -> Tensor:
    height, width = x.shape[-2:]
    for axis, size in ((-2, height), (-1, width)):
        target = padded_size(size, window)
        if target != size:
            index = torch.tensor(pad_index(0, target, size), device=x.device)
            x = x.index_select(axis, index)
    return x

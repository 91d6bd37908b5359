"""Define Swin blocks and the residual stage around them (RSTB) on whole planes, for training and parity tests.

A plane is ``(B, H, W, C)``: channels last, so that a window's pixels are rows of one matrix.
Both networks consist of the same block core on ``(n, P, C)`` tokens. The tile engine calls this core
too, so training and inference share the arithmetic and differ only in how they gather windows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swin2sr_ops.nets.attention import AttentionConstants, CosineAttention, DotAttention

__all__ = ["Mlp", "ResidualStage", "SwinBlock", "residual_conv", "wrap_mask"]


class Mlp(nn.Module):
    """Multilayer perceptron: Linear, GELU (erf), Linear."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(tokens)))  # type: ignore[no-any-return]


class SwinBlock(nn.Module):
    """Attention and MLP within windows, each with a residual.

    Swin2SR normalises after each branch (res-post-norm, Swin V2), SwinIR before (Swin V1).
    """

    def __init__(self, dim: int, heads: int, window: int, hidden: int, *, cosine: bool, shift: int, qkv_bias: bool):
        super().__init__()
        self.shift = shift
        self.window = window
        self.post_norm = cosine
        self.norm1 = nn.LayerNorm(dim)
        attention = CosineAttention if cosine else DotAttention
        self.attn = attention(dim, heads, window, qkv_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, hidden)
        #: Replaces the computation of `forward` in training; None if torch computes it.
        self.in_training: Callable[[SwinBlock, Tensor, AttentionConstants], Tensor] | None = None

    def tokens(self, x: Tensor, constants: AttentionConstants, mask: Tensor | None = None) -> Tensor:
        """Run the block on windows ``(n, P, C)``; ``mask``, ``(n, 1, P or 1, P)``, says which pixels attend."""
        if self.post_norm:
            x = x + self.norm1(self.attn(x, constants, mask))
            return x + self.norm2(self.mlp(x))  # type: ignore[no-any-return]
        x = x + self.attn(self.norm1(x), constants, mask)
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]

    def forward(self, plane: Tensor) -> Tensor:
        """Run the block on a plane ``(B, H, W, C)`` whose sides are multiples of the window."""
        batch, height, width, dim = plane.shape
        w = self.window
        constants = self.attn.constants()
        if self.in_training is not None and torch.is_grad_enabled():
            return self.in_training(self, plane, constants)
        mask = None
        if self.shift:
            plane = torch.roll(plane, (-self.shift, -self.shift), (1, 2))
            mask = wrap_mask(height, width, w, self.shift).to(constants.bias).repeat(batch, 1, 1, 1)
        x = plane.view(batch, height // w, w, width // w, w, dim).transpose(2, 3).reshape(-1, w * w, dim)
        x = self.tokens(x, constants, mask)
        x = x.view(batch, height // w, width // w, w, w, dim).transpose(2, 3).reshape(batch, height, width, dim)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x


@lru_cache(maxsize=2)  # training uses one size; the mask of a whole photograph is large
def wrap_mask(height: int, width: int, window: int, shift: int) -> Tensor:
    """Mask the pixels of a rolled window that were not neighbours before rolling: 0 or -inf, ``(nW, 1, P, P)``.

    The official code adds -100, which a temperature of 100 can outweigh: pixels of opposite image
    borders would then attend to each other. With -inf the networks follow their papers and a result
    never depends on the far border. For the released weights both give the same numbers.
    """

    def part(size: int) -> Tensor:
        label = torch.zeros(size, dtype=torch.int64)
        label[size - window :] = 1
        label[size - shift :] = 2
        return label

    label = part(height)[:, None] * 3 + part(width)[None, :]
    label = label.view(height // window, window, width // window, window).transpose(1, 2).reshape(-1, window**2)
    apart = label[:, :, None] != label[:, None, :]
    mask = torch.zeros(apart.shape).masked_fill_(apart, float("-inf"))
    return mask.unsqueeze(1)


def residual_conv(dim: int, kind: str) -> nn.Module:
    """Create the convolution that ends a stage: one 3x3, or the bottleneck of the large models."""
    if kind == "1conv":
        return nn.Conv2d(dim, dim, 3, 1, 1)
    return nn.Sequential(
        nn.Conv2d(dim, dim // 4, 3, 1, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim // 4, 1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(dim // 4, dim, 3, 1, 1),
    )


class _Blocks(nn.Module):
    """Store the blocks under the official name ``residual_group.blocks``."""

    def __init__(self, blocks: list[SwinBlock]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)


class PatchEmbed(nn.Module):
    """Embed each pixel: a 1x1 convolution (Swin2SR only) and a LayerNorm (before the first stage only)."""

    def __init__(self, dim: int, *, project: bool, normalise: bool) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim, dim, 1) if project else None
        self.norm = nn.LayerNorm(dim) if normalise else None

    def forward(self, plane: Tensor) -> Tensor:
        """Map ``(..., C)`` to ``(..., C)``: a 1x1 convolution is a linear layer on channels-last pixels."""
        if self.proj is not None:
            plane = F.linear(plane, self.proj.weight.flatten(1), self.proj.bias)
        return self.norm(plane) if self.norm is not None else plane


class ResidualStage(nn.Module):
    """Residual Swin stage (RSTB): blocks, a convolution, a per-pixel embedding, and the input added."""

    def __init__(self, blocks: list[SwinBlock], dim: int, resi_connection: str, *, project: bool) -> None:
        super().__init__()
        self.residual_group = _Blocks(blocks)
        self.conv = residual_conv(dim, resi_connection)
        self.patch_embed = PatchEmbed(dim, project=project, normalise=False)

    def forward(self, plane: Tensor) -> Tensor:
        x = plane
        for block in self.residual_group.blocks:
            x = block(x)
        x = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.patch_embed(x) + plane  # type: ignore[no-any-return]

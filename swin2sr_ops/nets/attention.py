"""Window attention of Swin2SR (Swin V2, cosine) and SwinIR (Swin V1, dot product).

Tokens have the shape ``(n, P, C)``: n windows of P = window**2 pixels. Values that depend only on the weights
(position bias, concatenated qkv bias, clamped logit scale) form one `AttentionConstants`. Training recomputes
them in every step, the tile engine once per loaded model.

Parameter names are those of the official checkpoints.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["AttentionConstants", "CosineAttention", "DotAttention"]


@dataclass(frozen=True)
class AttentionConstants:
    """Values that an attention layer derives from its weights, independent of the pixels."""

    bias: Tensor  # (1, heads, P, P), added to the logits
    qkv_bias: Tensor | None  # (3 C,)
    query_scale: Tensor | float  # (heads, 1, 1) or a number, multiplied into the queries

    def half(self) -> AttentionConstants:
        """Cast for tokens in bfloat16; bias and scale stay, since 8 bits of a bias of 16 would be an error of 0.03."""
        return replace(self, qkv_bias=None if self.qkv_bias is None else self.qkv_bias.bfloat16())


def relative_index(window: int) -> Tensor:
    """Compute the row of the (2w-1)^2 table for each pair of pixels of a window: ``(P, P)`` int64."""
    steps = torch.arange(window)
    row, col = torch.meshgrid(steps, steps, indexing="ij")
    row, col = row.flatten(), col.flatten()
    d_row = row[:, None] - row[None, :] + window - 1
    d_col = col[:, None] - col[None, :] + window - 1
    return d_row * (2 * window - 1) + d_col


def log_coordinates(window: int) -> Tensor:
    """Compute log-spaced relative coordinates, ``((2w-1)^2, 2)`` (Swin V2, eq. 4; scaled to 8 as in its code)."""
    steps = torch.arange(-(window - 1), window, dtype=torch.float32)
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), -1).reshape(-1, 2)
    grid = grid * 8 / (window - 1)
    return torch.sign(grid) * torch.log2(grid.abs() + 1) / math.log2(8)


class _WindowAttention(nn.Module):
    cosine: bool
    qkv: nn.Linear

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, constants: AttentionConstants, mask: Tensor | None = None) -> Tensor:
        """Map ``(n, P, C)`` to the same shape; add ``mask``, ``(n, 1, P or 1, P)``, to the logits of all heads."""
        qkv = F.linear(tokens, self.qkv.weight, constants.qkv_bias)
        return self.proj(self._attend(qkv, constants, mask))  # type: ignore[no-any-return]

    def _attend(self, qkv: Tensor, constants: AttentionConstants, mask: Tensor | None) -> Tensor:
        """Compute softmax attention per window: ``(n, P, 3 C)`` -> ``(n, P, C)``."""
        n, pixels, width = qkv.shape
        q, k, v = qkv.view(n, pixels, 3, self.heads, width // (3 * self.heads)).permute(2, 0, 3, 1, 4)  # (n, h, P, d)
        if qkv.requires_grad:
            return self._written_out(q, k, v, constants, mask).transpose(1, 2).flatten(2)
        if self.cosine:
            q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        bias = (constants.bias if mask is None else constants.bias + mask).to(v.dtype)
        q = (q * constants.query_scale).to(v.dtype)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=1.0)
        return out.transpose(1, 2).flatten(2)

    def _written_out(
        self, q: Tensor, k: Tensor, v: Tensor, constants: AttentionConstants, mask: Tensor | None
    ) -> Tensor:
        """Compute the same attention for training; each tensor is ``(n, h, P, d)``.

        torch's fused kernels do not support a learned bias. Their fallback searches for fully masked rows and
        divides strided memory; docs/benchmarks.md says how much time this version saves.
        """
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        if self.cosine:
            q, k = _unit(q), _unit(k)
        logits = (q * constants.query_scale).to(v.dtype) @ k.transpose(-2, -1)
        logits = logits + (constants.bias if mask is None else constants.bias + mask)
        return logits.softmax(-1).to(v.dtype) @ v


def _unit(x: Tensor) -> Tensor:
    """Normalise the last axis like `F.normalize`, with one product instead of one division per number."""
    length = x.float() if x.dtype == torch.bfloat16 else x
    return x * (length * length).sum(-1, keepdim=True).clamp_min(1e-24).rsqrt().to(x.dtype)


class CosineAttention(_WindowAttention):
    """Swin V2 attention: cosine similarity, learned temperature, continuous position bias."""

    cosine = True

    def __init__(self, dim: int, heads: int, window: int, qkv_bias: bool = True) -> None:
        super().__init__(dim, heads, window)
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10.0)))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(inplace=True), nn.Linear(512, heads, bias=False))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        # There is no key bias: cosine similarity would remove most of it.
        self.q_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if qkv_bias else None

    def constants(self) -> AttentionConstants:
        weight = self.qkv.weight
        # Compute in float32, then cast: the official code's coordinates are float32 numbers.
        coordinates = log_coordinates(self.window).to(weight)
        pixels = self.window**2
        table = self.cpb_mlp(coordinates)  # ((2w-1)^2, h)
        bias = table[relative_index(self.window).flatten().to(weight.device)]
        bias = 16 * torch.sigmoid(bias.view(pixels, pixels, self.heads).permute(2, 0, 1))
        qkv_bias = None
        if self.q_bias is not None and self.v_bias is not None:
            qkv_bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        scale = self.logit_scale.clamp(max=math.log(100.0)).exp()
        return AttentionConstants(bias.unsqueeze(0).contiguous(), qkv_bias, scale)


class DotAttention(_WindowAttention):
    """Swin V1 attention: scaled dot product, a table of position biases."""

    cosine = False

    def __init__(self, dim: int, heads: int, window: int, qkv_bias: bool = True) -> None:
        super().__init__(dim, heads, window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.query_scale = (dim // heads) ** -0.5

    def constants(self) -> AttentionConstants:
        pixels = self.window**2
        index = relative_index(self.window).flatten().to(self.qkv.weight.device)
        bias = self.relative_position_bias_table[index].view(pixels, pixels, self.heads).permute(2, 0, 1)
        return AttentionConstants(bias.unsqueeze(0).contiguous(), self.qkv.bias, self.query_scale)

"""What follows attention in a Swin block as one Triton kernel: projection, norms, MLP, both residuals.

A program takes some pixels. It reads a pixel's features and what attention gave once, and writes the block's
result once; what lies between, four times as many numbers as a pixel has channels, stays in registers and shared
memory. Products accumulate, and norms, GELU and residuals are taken, in float32. How fast that is on a GPU has not been
measured.

Used where `fused.usable` says so, up to `WIDEST` channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from swin2sr_ops.nets.blocks import SwinBlock

__all__ = ["WIDEST", "block_end"]

# Pixels of a program, in float32 and in half precision, and channels of a part: the most of which 180 channels spill no
# registers on an H100 (tests/nets/test_fused.py compiles for one).
PIXELS, PART = {False: 32, True: 64}, 16
#: Channels of the widest network; wider ones would not fit.
WIDEST = 256


def block_end(block: SwinBlock, x: Tensor, attended: Tensor) -> Tensor:
    """The block's result.

    Parameters
    ----------
    block : SwinBlock
        Its projection, norms and MLP.
    x : Tensor
        The block's input, ``(..., C)``, contiguous.
    attended : Tensor
        What attention gave before its projection, ``(..., C)``.

    Returns
    -------
    Tensor
        Swin2SR: ``u + norm2(mlp(u))`` with ``u = x + norm1(proj(attended))``; SwinIR: ``u + mlp(norm2(u))`` with
        ``u = x + proj(attended)``; shape and dtype of ``x``.
    """
    import triton

    from swin2sr_ops.nets.fused_mlp_kernel import block_end_kernel

    x, attended = x.contiguous(), attended.contiguous()
    dim, hidden = x.shape[-1], block.mlp.fc1.out_features
    pixels, out = x.numel() // dim, torch.empty_like(x)
    half = x.dtype == torch.bfloat16 and x.is_cuda
    block_end_kernel[(triton.cdiv(pixels, PIXELS[half]),)](
        x, attended, out, pixels,
        block.attn.proj.weight, block.attn.proj.bias, block.mlp.fc1.weight, block.mlp.fc1.bias,
        block.mlp.fc2.weight, block.mlp.fc2.bias, block.norm1.weight, block.norm1.bias, block.norm2.weight,
        block.norm2.bias, dim, hidden, block.norm1.eps,
        POST=block.post_norm, HALF=half, PIXELS=PIXELS[half], DIM=triton.next_power_of_2(max(dim, 16)),
        PART=PART, num_warps=8,
    )  # fmt: skip
    return out

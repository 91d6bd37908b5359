"""Window attention as one Triton kernel: from q, k and v to the heads' outputs, nothing in between in memory.

A program takes one head of one window. It reads its rows of ``qkv`` where the linear layer left them,
normalises q and k (Swin V2), adds the position bias and, for cells at the image's border, the key mask,
and takes the softmax; products accumulate, and norms and softmax are taken, in float32. torch's own
fused kernels want head sizes that are multiples of 8, which 10 and 30 are not; without them all logits
go through memory, 98,304 bytes per window of the lightweight network in float32. What that costs on a GPU has
not been measured.

Used on CUDA (and ROCm) where Triton is installed; elsewhere, for float64 and in training, torch's.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

__all__ = ["usable", "window_attention"]


#: Of a program, in float32 and in half precision: with four, float32 would keep 6 kB a thread in memory.
WARPS = {False: 8, True: 4}


def usable(qkv: Tensor, mask: Tensor | None = None) -> bool:
    """Whether the kernel can take this: on a GPU, no gradient wanted, float32 or half precision, and Triton is here.

    Its masks hide keys from all queries, as the tile engine's do; a mask of pairs, of whole planes, is torch's.
    """
    of_keys = mask is None or mask.shape[-2] == 1
    fits = qkv.is_cuda and qkv.dtype in (torch.float32, torch.bfloat16) and not torch.is_grad_enabled()
    return of_keys and fits and _installed()


@lru_cache(maxsize=1)
def _installed() -> bool:
    return find_spec("triton") is not None


def window_attention(
    qkv: Tensor, bias: Tensor, mask: Tensor | None, scale: Tensor | float, heads: int, *, cosine: bool
) -> Tensor:
    """Attention within windows.

    Parameters
    ----------
    qkv : Tensor
        ``(n, P, 3 C)``, contiguous: q, k and v of each pixel, each with its heads one after the other.
    bias : Tensor
        ``(1, heads, P, P)``, added to the logits.
    mask : Tensor, optional
        ``(n, 1, 1, P)``, 0 or -inf for each key.
    scale : Tensor or float
        Of the queries: ``(heads, 1, 1)`` or one number.
    heads : int
        Attention heads.
    cosine : bool
        Whether q and k are normalised first.

    Returns
    -------
    Tensor
        ``(n, P, C)``.
    """
    import triton

    windows, pixels, width = qkv.shape
    size = width // (3 * heads)
    out = qkv.new_empty(windows, pixels, width // 3)
    scales = scale.reshape(-1) if isinstance(scale, Tensor) else torch.full((heads,), scale, device=qkv.device)
    keys = qkv if mask is None else mask.to(torch.float32).contiguous()
    _kernel()[(windows, heads)](
        qkv.contiguous(), bias.contiguous(), keys, scales.float().contiguous(), out, pixels, size, heads,
        WITH_MASK=mask is not None, COSINE=cosine, HALF=_halves(qkv), PIXELS=triton.next_power_of_2(max(pixels, 16)),
        SIZE=triton.next_power_of_2(max(size, 16)), num_warps=WARPS[qkv.dtype == torch.bfloat16],
    )  # fmt: skip
    return out


def _halves(qkv: Tensor) -> bool:
    """Whether products take bfloat16; Triton's interpreter multiplies its bits as if they were whole numbers."""
    return qkv.dtype == torch.bfloat16 and qkv.is_cuda


@lru_cache(maxsize=1)
def _kernel() -> Any:
    """The kernel, built when it is first wanted: importing Triton takes a second."""
    import triton
    import triton.language as tl

    @triton.jit  # type: ignore[untyped-decorator]
    def kernel(  # type: ignore[no-untyped-def]
        qkv, bias, mask, scales, out, pixels, size, heads,
        WITH_MASK: tl.constexpr, COSINE: tl.constexpr, HALF: tl.constexpr, PIXELS: tl.constexpr, SIZE: tl.constexpr,
    ):  # fmt: skip
        window, head = tl.program_id(0).to(tl.int64), tl.program_id(1)
        row, column = tl.arange(0, PIXELS), tl.arange(0, SIZE)
        real = (row < pixels)[:, None] & (column < size)[None, :]
        width = heads * size
        place = (window * pixels + row)[:, None] * (3 * width) + (head * size + column)[None, :]
        q = tl.load(qkv + place, mask=real, other=0.0).to(tl.float32)
        k = tl.load(qkv + place + width, mask=real, other=0.0).to(tl.float32)
        v = tl.load(qkv + place + 2 * width, mask=real, other=0.0).to(tl.float32)
        if COSINE:
            q = q / tl.maximum(tl.sqrt(tl.sum(q * q, 1)), 1e-12)[:, None]
            k = k / tl.maximum(tl.sqrt(tl.sum(k * k, 1)), 1e-12)[:, None]
        q = q * tl.load(scales + head)
        if HALF:
            logits = tl.dot(q.to(tl.bfloat16), tl.trans(k.to(tl.bfloat16)))
        else:
            logits = tl.dot(q, tl.trans(k), input_precision="ieee")
        pairs = (row < pixels)[:, None] & (row < pixels)[None, :]
        at = head * pixels * pixels + row[:, None] * pixels + row[None, :]
        logits += tl.load(bias + at, mask=pairs, other=0.0).to(tl.float32)
        if WITH_MASK:
            logits += tl.load(mask + window * pixels + row, mask=row < pixels, other=0.0)[None, :]
        logits = tl.where((row < pixels)[None, :], logits, float("-inf"))
        weights = tl.exp(logits - tl.max(logits, 1)[:, None])
        weights = weights / tl.sum(weights, 1)[:, None]
        if HALF:
            result = tl.dot(weights.to(tl.bfloat16), v.to(tl.bfloat16))
        else:
            result = tl.dot(weights, v, input_precision="ieee")
        target = (window * pixels + row)[:, None] * width + (head * size + column)[None, :]
        tl.store(out + target, result.to(out.dtype.element_ty), mask=real)

    return kernel

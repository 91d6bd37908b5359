"""Swin blocks as two Triton kernels that work on the feature plane itself.

The first takes a head of a window: it reads the window's pixels where they lie, shifted or not, makes q, k and v,
normalises q and k (Swin V2), adds the position bias, hides pixels outside the image, takes the softmax. The second
takes some pixels of a window: projection, norms, MLP and both residuals, written back in place. No window is copied,
and of q, k, v, logits and hidden features nothing goes through memory: a pixel's features are read by each head and
once more, what attention gave is written and read once, the result is written once. Products accumulate, and norms,
softmax, GELU and residuals are taken, in float32. How fast that is on a GPU has not been measured.

A program's arithmetic is the same wherever its window lies and however many run: no cells are needed for the result
not to depend on the tiles.

Used on CUDA (and ROCm) where Triton is installed, for float32 and bfloat16, up to `WIDEST` channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from swin2sr_ops.devices import is_out_of_memory
from swin2sr_ops.errors import RequestError
from swin2sr_ops.layers import network_steps
from swin2sr_ops.nets.direct import Box, Steps

if TYPE_CHECKING:
    from swin2sr_ops.nets.attention import AttentionConstants
    from swin2sr_ops.nets.blocks import SwinBlock
    from swin2sr_ops.nets.network import SwinNet

__all__ = ["WIDEST", "FusedSteps"]

#: Channels of the widest network; of wider ones a pixel's features would not fit.
WIDEST = 256
# Pixels of a program of the second kernel and warps of the first, in float32 and in half precision; channels of a part:
# of 180 channels the most pixels of which few registers spill on an H100 (tests/nets/test_fused.py compiles for one).
PIXELS, WARPS, PART = {False: 32, True: 64}, {False: 8, True: 4}, 16
#: Windows of one launch: what attention gives for them is all that is kept beside the planes.
WINDOWS = 2048


@dataclass(frozen=True)
class _Block:
    """A block, and what its attention derives from its weights."""

    block: SwinBlock
    qkv_bias: Tensor  # (3 C,)
    bias: Tensor  # (heads, P, P)
    scales: Tensor  # (heads,), float32


class FusedSteps(Steps):
    """The Swin blocks of a network, for `DirectWork`.

    Parameters
    ----------
    net : SwinNet
        In evaluation mode, on its device; its stages in float32 or bfloat16.
    constants : dict
        What each block's attention derives from its weights, by the block's path.
    """

    def __init__(self, net: SwinNet, constants: dict[str, AttentionConstants]) -> None:
        self._blocks: dict[str, _Block] = {}
        for step in network_steps(net.spec):
            if step.kind == "window":
                self._blocks[step.path] = _prepared(attrgetter(step.path)(net), constants[step.path])

    def rows(self, across: int) -> int:
        return max(WINDOWS // across, 1)

    def windows(self, path: str, plane: Tensor, down: int, across: int, inside: Box) -> None:
        with torch.cuda.device(plane.device if plane.is_cuda else -1):  # Triton launches on the current one
            try:
                self._launch(self._blocks[path], plane, down, across, inside)
            except Exception as exc:
                if is_out_of_memory(exc):
                    raise
                told = next(iter(str(exc).splitlines()), repr(exc))
                raise RequestError(
                    f"engine='triton' cannot run on {plane.device} here ({told}): give engine='torch'."
                ) from exc

    def _launch(self, found: _Block, plane: Tensor, down: int, across: int, inside: Box) -> None:
        import triton

        from swin2sr_ops.nets.fused_kernels import attention_kernel, block_end_kernel

        block, attn, mlp = found.block, found.block.attn, found.block.mlp
        dim, window = plane.shape[-1], block.window
        half = plane.dtype == torch.bfloat16
        dots = half and plane.is_cuda  # Triton's interpreter multiplies bfloat16's bits as if they were whole numbers
        windows = down * across
        attended = plane.new_empty(windows, window**2, dim)
        place = (plane.stride(0), across, inside.top, inside.bottom, inside.left, inside.right)
        rows, width = (triton.next_power_of_2(n) for n in (max(window**2, PIXELS[half]), max(dim, 16)))
        kind = {"V2": block.post_norm, "HALF": dots, "WINDOW": window, "PART": PART, "ROWS": rows, "DIM": width}
        attention_kernel[(windows, attn.heads)](
            plane, attended, attn.qkv.weight, found.qkv_bias, found.bias, found.scales,
            block.norm1.weight, block.norm1.bias, *place, dim, attn.heads, block.norm1.eps,
            SIZE=triton.next_power_of_2(max(dim // attn.heads, 16)), num_warps=WARPS[half], **kind,
        )  # fmt: skip
        block_end_kernel[(windows * rows // PIXELS[half],)](
            plane, plane, attended, attn.proj.weight, attn.proj.bias, mlp.fc1.weight, mlp.fc1.bias, mlp.fc2.weight,
            mlp.fc2.bias, block.norm1.weight, block.norm1.bias, block.norm2.weight, block.norm2.bias,
            *place, dim, mlp.fc1.out_features, block.norm1.eps, PIXELS=PIXELS[half], num_warps=8, **kind,
        )  # fmt: skip


def _prepared(block: SwinBlock, constants: AttentionConstants) -> _Block:
    weight, bias, scale = block.attn.qkv.weight, constants.qkv_bias, constants.query_scale
    if not isinstance(scale, Tensor):
        scale = torch.full((block.attn.heads,), scale, device=weight.device)
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    return _Block(block, bias.contiguous(), constants.bias[0].contiguous(), scale.flatten().float().contiguous())

"""Swin blocks as two Triton kernels that work on the feature plane itself, and a third for the ends of stages.

The first takes a head of a window: it reads the window's pixels where they lie, shifted or not, makes q, k and v,
normalises q and k (Swin V2), adds the position bias, hides pixels outside the image, takes the softmax. The second
takes some pixels of a window: projection, norms, MLP and both residuals, written back in place. No window is copied,
and of q, k, v, logits and hidden features nothing goes through memory: a pixel's features are read by each head and
once more, what attention gave is written and read once, the result is written once. Products accumulate, and norms,
softmax, GELU and residuals are taken, in float32. The third convolves some pixels, embeds them and adds them to what
the stage began with. How fast that is on a GPU has not been measured.

A program's arithmetic is the same wherever its window lies and however many run, and a pixel has one place in its
program: no cells are needed for the result not to depend on the tiles.

Used on CUDA (and ROCm) where Triton is installed, for float32 and bfloat16, up to `WIDEST` channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from swin2sr_ops.devices import is_out_of_memory
from swin2sr_ops.errors import RequestError
from swin2sr_ops.layers import network_steps
from swin2sr_ops.nets.direct import Box, Steps

if TYPE_CHECKING:
    from swin2sr_ops.nets.attention import AttentionConstants
    from swin2sr_ops.nets.blocks import PatchEmbed, SwinBlock
    from swin2sr_ops.nets.network import SwinNet

__all__ = ["WIDEST", "FusedSteps"]

#: Channels of the widest network; of wider ones a pixel's features would not fit.
WIDEST = 256
# Pixels of a program of the second kernel and warps of the first, in float32 and in half precision; channels of a part:
# of 180 channels the most pixels of which few registers spill on an H100 (tests/nets/test_fused.py compiles for one).
PIXELS, WARPS, PART = {False: 32, True: 64}, {False: 8, True: 4}, 16
#: Rows and columns of a program of the third.
HIGH, WIDE = {False: 4, True: 8}, 8
#: Windows of one launch: what attention gives for them is all that is kept beside the planes.
WINDOWS = 2048


@dataclass(frozen=True)
class _Block:
    """A block, and what its attention derives from its weights."""

    block: SwinBlock
    qkv_bias: Tensor  # (3 C,)
    bias: Tensor  # (heads, P, P)
    scales: Tensor  # (heads,), float32


@dataclass(frozen=True)
class _Stage:
    """The end of a stage; each pixel of an embedding is embedded alone."""

    conv: Tensor  # (3, 3, C, C): by the tap, then by the channel that comes out
    conv_bias: Tensor
    embed: nn.Conv2d | None


class FusedSteps(Steps):
    """The Swin blocks and the ends of stages of a network, for `DirectWork`.

    Parameters
    ----------
    net : SwinNet
        In evaluation mode, on its device; its stages in float32 or bfloat16.
    constants : dict
        What each block's attention derives from its weights, by the block's path.
    """

    lines = 2**30  # all of them

    def __init__(self, net: SwinNet, constants: dict[str, AttentionConstants]) -> None:
        self._blocks: dict[str, _Block] = {}
        self._stages: dict[str, _Stage] = {}
        for step in network_steps(net.spec):
            if step.kind == "window":
                self._blocks[step.path] = _prepared(attrgetter(step.path)(net), constants[step.path])
            elif step.kind == "merge":
                stage = attrgetter(step.path)(net)
                if isinstance(stage.conv, nn.Conv2d):  # the bottlenecks of the largest models are torch's
                    self._stages[step.path] = _end(stage.conv, stage.patch_embed)

    def rows(self, across: int) -> int:
        return max(WINDOWS // across, 1)

    def windows(self, path: str, plane: Tensor, down: int, across: int, inside: Box) -> None:
        with _launching(plane.device):
            self._block(self._blocks[path], plane, down, across, inside)

    def ends(self, path: str) -> bool:
        return path in self._stages

    def end(self, path: str, source: Tensor, target: Tensor, rows: int, columns: int, inside: Box) -> None:
        with _launching(source.device):
            self._end(self._stages[path], source, target, rows, columns, inside)

    def _end(self, stage: _Stage, source: Tensor, target: Tensor, rows: int, columns: int, inside: Box) -> None:
        import triton

        from swin2sr_ops.nets.fused_kernels import stage_end_kernel

        dim, half = source.shape[-1], source.dtype == torch.bfloat16
        above, before = -inside.top % HIGH[half], -inside.left % WIDE
        down, across = triton.cdiv(above + rows, HIGH[half]), triton.cdiv(before + columns, WIDE)
        embed = stage.embed
        weight, bias = (stage.conv, stage.conv_bias) if embed is None else (embed.weight, embed.bias)
        stage_end_kernel[(down * across,)](
            source, target, stage.conv, stage.conv_bias, weight, bias, source.stride(0), across, above, before, rows,
            columns, dim, EMBED=embed is not None, HALF=half and source.is_cuda, HIGH=HIGH[half], WIDE=WIDE,
            DIM=triton.next_power_of_2(max(dim, 16)), PART=PART, num_warps=8,
        )  # fmt: skip

    def _block(self, found: _Block, plane: Tensor, down: int, across: int, inside: Box) -> None:
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


@contextmanager
def _launching(device: torch.device) -> Iterator[None]:
    """Triton launches on the current device; what it says of a GPU that is not for it, in a sentence."""
    with torch.cuda.device(device if device.type == "cuda" else -1):
        try:
            yield
        except Exception as exc:
            if is_out_of_memory(exc):
                raise
            told = next(iter(str(exc).splitlines()), repr(exc))
            raise RequestError(f"engine='triton' cannot run on {device} here ({told}): give engine='torch'.") from exc


def _end(conv: nn.Conv2d, embed: PatchEmbed) -> _Stage:
    assert conv.bias is not None
    return _Stage(conv.weight.permute(2, 3, 0, 1).contiguous(), conv.bias, embed.proj)


def _prepared(block: SwinBlock, constants: AttentionConstants) -> _Block:
    weight, bias, scale = block.attn.qkv.weight, constants.qkv_bias, constants.query_scale
    if not isinstance(scale, Tensor):
        scale = torch.full((block.attn.heads,), scale, device=weight.device)
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    return _Block(block, bias.contiguous(), constants.bias[0].contiguous(), scale.flatten().float().contiguous())

"""Compute Swin blocks with two Triton kernels that work on the feature plane itself, and convolutions with four.

The first kernel computes one head of a window: it reads the window's pixels in place, shifted or not, computes q, k
and v, normalises q and k (Swin V2), adds the position bias, masks pixels outside the image and applies the softmax.
The second computes some pixels of a window: projection, norms, MLP and both residuals, written back in place. No
window is copied, and q, k, v, logits and hidden features never go through memory: each head reads a pixel's features,
the second kernel reads them once more, the result of attention is written and read once, the final result is written
once. Products accumulate in float32; norms, softmax, GELU and residuals are computed in float32. The other kernels
convolve some pixels: the entrance of a trunk, embedded; the end of a stage, embedded and added to the stage's input;
the end of a trunk, of normalised features, added to the recomputed first features; and heads that are one
convolution. Their speed on a GPU has not been measured.

A program's arithmetic does not depend on where its window lies and how many run, a pixel has one place in its
program, and there is one compilation: no cells are needed to make the result independent of tiles.

Used on CUDA (and ROCm) if Triton is installed, for float32 and bfloat16, up to `WIDEST` channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from swin2sr_ops.engine.devices import is_out_of_memory
from swin2sr_ops.engine.kernel_run import Box, Place, Steps
from swin2sr_ops.errors import RequestError
from swin2sr_ops.geometry.steps import Step, network_steps

if TYPE_CHECKING:
    from swin2sr_ops.nets.attention import AttentionConstants
    from swin2sr_ops.nets.blocks import SwinBlock
    from swin2sr_ops.nets.network import SwinNet

__all__ = ["WIDEST", "FusedSteps"]

#: Channels of the widest supported network; with more, a pixel's features would not fit.
WIDEST = 256
# Pixels per program of the second kernel and warps of the first, in float32 and in half precision; channels of a part:
# with 180 channels the most pixels for which few registers spill on an H100 (tests/engine/triton/test_kernels.py).
PIXELS, WARPS, PART = {False: 32, True: 64}, {False: 8, True: 4}, 16
#: Rows (for features in float32, in half precision) and columns per program of the convolutions.
HIGH, WIDE = {False: 4, True: 8}, 8
#: Windows per launch: only their attention results are stored beside the planes.
WINDOWS = 2048


@dataclass(frozen=True)
class _Block:
    """A block, and the attention constants derived from its weights."""

    block: SwinBlock
    qkv_bias: Tensor  # (3 C,)
    bias: Tensor  # (heads, P, P)
    scales: Tensor  # (heads,), float32


@dataclass(frozen=True)
class _Convolution:
    """A convolution and its embedding; the embedding acts on each pixel separately."""

    weight: Tensor  # (3, 3, outputs, inputs): the tap first, then the output channel
    bias: Tensor
    embed: Tensor | None = None  # (C, C)
    embed_bias: Tensor | None = None
    norm: nn.LayerNorm | None = None  # after the embedding of an entrance; before the end of a trunk
    slope: float = 1.0  # of a leaky ReLU between convolution and embedding


class FusedSteps(Steps):
    """The steps of a network that run in the kernels, for `KernelRun`: all but heads of several convolutions.

    Parameters
    ----------
    net : SwinNet
        In evaluation mode, on its device; its stages in float32 or bfloat16.
    constants : dict
        Attention constants derived from each block's weights, by the block's path.
    """

    lines = 2**30  # all lines in one call

    def __init__(self, net: SwinNet, constants: dict[str, AttentionConstants]) -> None:
        self._blocks: dict[str, _Block] = {}
        self._convolutions: dict[str, _Convolution] = {}
        self._entrances: dict[str, _Convolution] = {}  # of each trunk, by the path of its end
        self._scale = net.spec.scale
        self._half = next(net.layers.parameters()).dtype == torch.bfloat16
        #: True if all steps have kernels.
        self.complete = True
        for step in network_steps(net.spec):
            if step.kind == "window":
                self._blocks[step.path] = _prepared(attrgetter(step.path)(net), constants[step.path])
                continue
            found = _convolution(net, step)
            if found is None:
                self.complete = False
                continue
            self._convolutions[step.path] = found
            if step.kind == "embed":
                entrance = found
            elif step.kind == "tail":
                self._entrances[step.path] = entrance

    def rows(self, across: int) -> int:
        return max(WINDOWS // across, 1)

    def windows(self, path: str, plane: Tensor, down: int, across: int, inside: Box) -> None:
        with _launching(plane.device):
            self._block(self._blocks[path], plane, down, across, inside)

    def has(self, path: str) -> bool:
        return path in self._convolutions  # torch computes bottlenecks of the largest models, and longer heads

    def again(self, path: str) -> bool:
        return path in self._entrances

    def begin(self, path: str, place: Place, source: Tensor, plane: Tensor, first: Tensor | None = None) -> None:
        from swin2sr_ops.engine.triton.kernels import entrance_kernel

        found, dim, norm = self._convolutions[path], plane.shape[-1], self._convolutions[path].norm
        self._convolve(
            entrance_kernel, found, place, source, features=_whole(plane if first is None else first),
            target=_whole(plane), **_embedding(found), gain=found.bias if norm is None else norm.weight,
            offset=found.bias if norm is None else norm.bias, inputs=source.shape[-1], dim=dim, slope=found.slope,
            eps=0.0 if norm is None else norm.eps, NORM=norm is not None, KEEP=first is not None, DIM=_power(dim),
        )  # fmt: skip

    def end(self, path: str, place: Place, plane: Tensor, target: Tensor, source: Tensor | None = None) -> None:
        from swin2sr_ops.engine.triton.kernels import stage_end_kernel, trunk_end_kernel

        found, dim, inside = self._convolutions[path], plane.shape[-1], place.inside
        if source is None:
            given = {"target": _whole(target), "dim": dim, "DIM": _power(dim)}
            self._convolve(stage_end_kernel, found, place, plane, **given, **_embedding(found))
            return
        entrance, norm = self._entrances[path], found.norm
        assert norm is not None
        self._convolve(
            trunk_end_kernel, found, place, plane, image=_whole(source), target=_whole(target),
            entrance=entrance.weight, entrance_bias=entrance.bias, slope=entrance.slope, gain=norm.weight,
            offset=norm.bias, eps=norm.eps, top=inside.top, bottom=inside.bottom, left=inside.left,
            right=inside.right, inputs=source.shape[-1], dim=dim, DIM=_power(dim),
        )  # fmt: skip

    def head(self, path: str, place: Place, source: Tensor, image: Tensor, target: Tensor) -> None:
        from swin2sr_ops.engine.triton.kernels import head_kernel

        found = self._convolutions[path]
        self._convolve(
            head_kernel, found, place, source, image=_whole(image), target=target, dim=source.shape[-1],
            channels=len(target), scale=self._scale, ADD=not path, OUT=_power(len(found.bias)),
        )  # fmt: skip

    def _convolve(self, kernel: Any, found: _Convolution, place: Place, source: Tensor, **given: Any) -> None:
        high = HIGH[found.weight.dtype == torch.bfloat16]
        above, before = -place.inside.top % high, -place.inside.left % WIDE
        down, across = -(-(above + place.rows) // high), -(-(before + place.columns) // WIDE)
        begin, width = _first(source)
        with _launching(source.device):
            kernel[(down * across,)](
                source=_whole(source), conv=found.weight, conv_bias=found.bias, begin=begin, width=width, across=across,
                above=above, before=before, rows=place.rows, columns=place.columns,
                PRECISION=_precision(found.weight, self._half), HIGH=high, WIDE=WIDE, PART=PART, num_warps=8, **given,
            )  # fmt: skip

    def _block(self, found: _Block, plane: Tensor, down: int, across: int, inside: Box) -> None:
        from swin2sr_ops.engine.triton.kernels import attention_kernel, block_end_kernel

        block, attn, mlp = found.block, found.block.attn, found.block.mlp
        dim, window = plane.shape[-1], block.window
        half = plane.dtype == torch.bfloat16
        windows = down * across
        attended = plane.new_empty(windows, window**2, dim)
        begin, width = _first(plane)
        place = (begin, width, across, inside.top, inside.bottom, inside.left, inside.right, block.norm1.eps, dim)
        whole = _whole(plane)
        rows, precision = _power(max(window**2, PIXELS[half])), _precision(plane, half)
        kind = {"V2": block.post_norm, "PRECISION": precision, "WINDOW": window, "PART": PART}
        kind |= {"ROWS": rows, "DIM": _power(dim)}
        attention_kernel[(windows, attn.heads)](
            whole, attended, attn.qkv.weight, found.qkv_bias, found.bias, found.scales,
            block.norm1.weight, block.norm1.bias, *place, attn.heads,
            SIZE=_power(dim // attn.heads), num_warps=WARPS[half], **kind,
        )  # fmt: skip
        block_end_kernel[(windows * rows // PIXELS[half],)](
            whole, whole, attended, attn.proj.weight, attn.proj.bias, mlp.fc1.weight, mlp.fc1.bias, mlp.fc2.weight,
            mlp.fc2.bias, block.norm1.weight, block.norm1.bias, block.norm2.weight, block.norm2.bias,
            *place, mlp.fc1.out_features, PIXELS=PIXELS[half], num_warps=8, **kind,
        )  # fmt: skip


@contextmanager
def _launching(device: torch.device) -> Iterator[None]:
    """Launch Triton on ``device``, and turn its errors for an unsuitable GPU into one sentence."""
    with torch.cuda.device(device if device.type == "cuda" else -1):
        try:
            yield
        except Exception as exc:
            if is_out_of_memory(exc):
                raise
            reason = next(iter(str(exc).splitlines()), repr(exc))
            raise RequestError(f"engine='triton' cannot run on {device} here ({reason}): give engine='torch'.") from exc


def _whole(plane: Tensor) -> Tensor:
    """Return the whole plane behind the view ``plane``, from its first pixel: its alignment is equal for all tiles."""
    return plane.as_strided((1,), (1,), 0)


def _first(plane: Tensor) -> tuple[int, int]:
    """Return the index of this view's first pixel in the plane, and the plane's number of columns."""
    return plane.storage_offset() // plane.shape[-1], plane.stride(0) // plane.shape[-1]


def _power(count: int) -> int:
    """Round up to a power of two, as Triton requires, and to at least 16, the smallest product."""
    return max(1 << (count - 1).bit_length(), 16)


def _precision(weight: Tensor, half: bool) -> str:
    """Return the precision of products with ``weight``: beside stages in half precision TF32 suffices, if available."""
    if not weight.is_cuda:  # Triton's interpreter multiplies bfloat16's bits as integers
        return "ieee"
    if weight.dtype == torch.bfloat16:
        return "bf16"
    return "tf32" if half and torch.version.hip is None else "ieee"


def _convolution(net: SwinNet, step: Step) -> _Convolution | None:
    """Prepare a step that is not a block for `FusedSteps`, if it is one convolution."""
    if step.kind == "head":
        path = {"": "conv_last", "pixelshuffledirect": "upsample.0"}.get(step.path)
        if net.spec.planes > 1 and not step.path:  # the kernel would add the neighbours, too
            path = None
        return None if path is None else _prepared_convolution(attrgetter(path)(net))
    module = attrgetter(step.path)(net)
    if step.kind == "merge":
        return _prepared_convolution(module.conv, module.patch_embed.proj)
    if step.kind == "tail":
        return _prepared_convolution(module, norm=net.norm)
    if step.kind == "embed":
        return _prepared_convolution(module, net.patch_embed.proj, net.patch_embed.norm)
    return None


def _prepared_convolution(
    module: Any, proj: nn.Conv2d | None = None, norm: nn.LayerNorm | None = None
) -> _Convolution | None:
    slope = 1.0
    if isinstance(module, nn.Sequential) and len(module) == 2:  # followed by a leaky ReLU
        module, slope = module[0], module[1].negative_slope
    if not isinstance(module, nn.Conv2d):
        return None
    assert module.bias is not None
    weight = module.weight.permute(2, 3, 0, 1).contiguous()
    if proj is None:
        return _Convolution(weight, module.bias, norm=norm, slope=slope)
    assert proj.bias is not None
    embed, embed_bias = proj.weight.flatten(1), proj.bias
    if norm is not None:  # the norm subtracts the mean, so remove it beforehand
        embed, embed_bias = embed - embed.mean(0), embed_bias - embed_bias.mean()
    return _Convolution(weight, module.bias, embed, embed_bias, norm, slope)


def _embedding(found: _Convolution) -> dict[str, Any]:
    """Return the embedding arguments of a kernel; without an embedding they are placeholders."""
    if found.embed is None:
        return {"embed": found.weight, "embed_bias": found.bias, "EMBED": False}
    return {"embed": found.embed, "embed_bias": found.embed_bias, "EMBED": True}


def _prepared(block: SwinBlock, constants: AttentionConstants) -> _Block:
    weight, bias, scale = block.attn.qkv.weight, constants.qkv_bias, constants.query_scale
    if not isinstance(scale, Tensor):
        scale = torch.full((block.attn.heads,), scale, device=weight.device)
    bias = weight.new_zeros(len(weight)) if bias is None else bias
    return _Block(block, bias.contiguous(), constants.bias[0].contiguous(), scale.flatten().float().contiguous())

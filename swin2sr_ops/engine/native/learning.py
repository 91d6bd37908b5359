"""Swin blocks in training by our own kernels, on the CPU.

A window is fetched, computed and put back while it lies in the cache; nothing but a block's input is kept for the way
back, where the window is computed once more (learn.c). Threads share the windows, and their sums of gradients are
added in one order: a run is repeatable for a given number of threads.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from swin2sr_ops.engine.native.build import library, origin
from swin2sr_ops.engine.native.kernels import NUMBERS, Block, fields
from swin2sr_ops.nets.blocks import SwinBlock, wrap_mask

if TYPE_CHECKING:
    from swin2sr_ops.nets.attention import AttentionConstants
    from swin2sr_ops.nets.network import SwinNet

__all__ = ["learn_natively"]

_NAMES = (
    "qkv", "qkv_bias", "scale", "bias", "proj", "proj_bias", "norm1", "norm1_bias", "fc1", "fc1_bias", "fc2",
    "fc2_bias", "norm2", "norm2_bias",
)  # fmt: skip
_WEIGHTS = ("qkv", "proj", "fc1", "fc2")


class _Gradients(ctypes.Structure):
    """``Gradients`` of learn.c."""

    _fields_ = fields(ctypes.c_void_p, " ".join(_NAMES))


class _Planes(ctypes.Structure):
    """``Planes`` of learn.c."""

    _fields_ = [*fields(ctypes.c_ssize_t, "down across shift"), *fields(ctypes.c_void_p, "masks input gradient output")]


def learn_natively(net: SwinNet) -> str:
    """Let the kernels compute the Swin blocks of ``net`` in training; gives their origin.

    Parameters
    ----------
    net : SwinNet
        Float32, on the CPU.

    Raises
    ------
    RequestError
        If the kernels cannot be built.
    """
    built = library("training")
    for name in ("swin_learn_bias_row", "swin_learn_scratch", "swin_learn_row", "swin_learn_sums"):
        getattr(built, name).restype = ctypes.c_ssize_t
    for module in net.modules():
        if isinstance(module, SwinBlock):
            module.in_training = _block
    return origin()


def _block(block: SwinBlock, plane: Tensor, constants: AttentionConstants) -> Tensor:
    """`SwinBlock.forward` on ``(B, H, W, C)``."""
    attn, mlp = block.attn, block.mlp
    scale = constants.query_scale
    if not isinstance(scale, Tensor):
        scale = torch.full((attn.heads,), scale)
    weights = (  # as in _NAMES
        attn.qkv.weight, constants.qkv_bias, scale, constants.bias, attn.proj.weight, attn.proj.bias,
        block.norm1.weight, block.norm1.bias, mlp.fc1.weight, mlp.fc1.bias, mlp.fc2.weight, mlp.fc2.bias,
        block.norm2.weight, block.norm2.bias,
    )  # fmt: skip
    return _Windows.apply(block, plane, *weights)  # type: ignore[no-any-return, no-untyped-call]


class _Windows(torch.autograd.Function):
    """All windows of a block, and their gradients."""

    @staticmethod
    def forward(ctx: Any, block: SwinBlock, plane: Tensor, *weights: Tensor | None) -> Tensor:
        plane = plane.contiguous()
        ctx.block = block
        ctx.save_for_backward(plane, *weights)
        return _Call(block, plane, weights).run(None, [])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        plane, *weights = ctx.saved_tensors
        call = _Call(ctx.block, plane, weights)
        sums = [call.zeros() for _ in range(torch.get_num_threads())]
        by_plane = call.run(gradient.contiguous(), sums)
        return None, by_plane, *call.by_weights(sums)


Sums = dict[str, Tensor]


class _Call:
    """One way through a block's windows, as the kernels want it."""

    def __init__(self, block: SwinBlock, plane: Tensor, weights: Any) -> None:
        self.block, self.plane, self.weights = block, plane, dict(zip(_NAMES, weights, strict=True))
        attn, self.pixels = block.attn, block.window**2
        self.spec = Block(
            dim=plane.shape[-1], heads=attn.heads, window=block.window, hidden=block.mlp.fc1.out_features,
            post_norm=block.post_norm, cosine=attn.cosine, eps=block.norm1.eps,
        )  # fmt: skip
        self.library = library("training")
        self.row = self.library.swin_learn_bias_row(ctypes.byref(self.spec))
        self._read = {name: self._as_read(name, v) for name, v in self.weights.items() if v is not None}
        for name, values in self._read.items():
            setattr(self.spec, name, ctypes.cast(values.data_ptr(), NUMBERS))

    def run(self, gradient: Tensor | None, sums: list[Sums]) -> Tensor:
        """The block's result; or the gradient by its input, with those by its weights added to each thread's sums."""
        count, height, width, _ = self.plane.shape
        w, shift, threads = self.block.window, self.block.shift, torch.get_num_threads()
        output = torch.empty_like(self.plane)
        planes = _Planes(
            down=height // w, across=width // w, shift=shift, input=self.plane.data_ptr(), output=output.data_ptr(),
            masks=_masks(w, shift, self.row).data_ptr() if shift else None,
            gradient=None if gradient is None else gradient.data_ptr(),
        )  # fmt: skip
        windows = count * (height // w) * (width // w)
        ends = [windows * i // threads for i in range(threads + 1)]
        size = self.library.swin_learn_scratch(ctypes.byref(self.spec))

        def part(i: int) -> None:
            to = _Gradients(**{name: v.data_ptr() for name, v in sums[i].items()} if sums else {})
            scratch = torch.empty(size)
            self.library.swin_learn(
                ctypes.byref(self.spec), ctypes.byref(planes), ctypes.c_ssize_t(ends[i]), ctypes.c_ssize_t(ends[i + 1]),
                ctypes.byref(to), ctypes.c_void_p(scratch.data_ptr()),
            )  # fmt: skip

        if threads == 1:
            part(0)
        else:
            list(_pool(threads).map(part, range(threads)))
        return output

    def zeros(self) -> Sums:
        """Room for the gradients by the weights, as the kernels add them up."""
        heads, dim, sums = self.block.attn.heads, self.spec.dim, self.library.swin_learn_sums()
        found = {"bias": torch.zeros(heads, self.pixels, self.row), "qkv_bias": torch.zeros(3 * dim, sums)}
        for name, values in self._read.items():
            if name in _WEIGHTS:
                row = self.library.swin_learn_row(ctypes.c_ssize_t(values.shape[1]))
                found[name] = torch.zeros(values.shape[0], row)
            elif name not in found:
                found[name] = torch.zeros(values.numel(), sums)
        return found

    def by_weights(self, sums: list[Sums]) -> list[Tensor | None]:
        """The gradients, as torch has them."""
        found: list[Tensor | None] = []
        for name, values in self.weights.items():
            total = sums[0][name]
            for more in sums[1:]:
                total = total + more[name]
            if values is None:
                found.append(None)
            elif name == "bias":
                found.append(total[..., : self.pixels].transpose(1, 2)[None])
            elif name in _WEIGHTS:
                found.append(total[:, : values.shape[1]])
            else:
                found.append(_added(total).view_as(values))
        return found

    def _as_read(self, name: str, values: Tensor) -> Tensor:
        if name == "bias":  # by key, then query
            values = F.pad(values[0].transpose(1, 2), (0, self.row - self.pixels))
        return values.detach().contiguous()


def _added(sums: Tensor) -> Tensor:
    """Add the last axis, a power of two long, in one order: torch's own depends on the processor."""
    while sums.shape[-1] > 1:
        half = sums.shape[-1] // 2
        sums = sums[..., :half] + sums[..., half:]
    return sums


@lru_cache(maxsize=4)
def _masks(window: int, shift: int, row: int) -> Tensor:
    """For windows inside, at the right border, at the lower one, at both: ``(4, P, row)``, 0 or -inf."""
    masks = wrap_mask(2 * window, 2 * window, window, shift)[:, 0]
    return F.pad(masks, (0, row - window**2)).contiguous()


@lru_cache(maxsize=1)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "swin2sr-ops-learn")

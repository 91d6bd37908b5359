"""A network's weights as the kernels want them, and the calls into the kernels.

A call keeps no lock: threads compute different lines at the same time, each in scratch memory of its own.
"""

from __future__ import annotations

import ctypes
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from swin2sr_ops.engine.block_runner import Box, Place, Steps
from swin2sr_ops.engine.native.build import library
from swin2sr_ops.engine.threads import Spares
from swin2sr_ops.geometry.steps import network_steps

if TYPE_CHECKING:
    from swin2sr_ops.nets.attention import AttentionConstants
    from swin2sr_ops.nets.blocks import SwinBlock
    from swin2sr_ops.nets.network import SwinNet

__all__ = ["NUMBERS", "Block", "NativeSteps", "fields"]

_ROWS = 6  # as in products.h
NUMBERS = ctypes.POINTER(ctypes.c_float)


def fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    """Of a structure: ``names`` of one kind, one after another."""
    return [(name, kind) for name in names.split()]


class Block(ctypes.Structure):
    """``Block`` of window.h."""

    _fields_ = [
        *fields(ctypes.c_ssize_t, "dim heads window hidden post_norm cosine"),
        ("eps", ctypes.c_float),
        *fields(NUMBERS, "qkv qkv_bias scale bias proj proj_bias norm1 norm1_bias"),
        *fields(NUMBERS, "fc1 fc1_bias fc2 fc2_bias norm2 norm2_bias"),
    ]


class _Stage(ctypes.Structure):
    """``Stage`` of stage.c."""

    _fields_ = [
        *fields(ctypes.c_ssize_t, "dim"),
        ("eps", ctypes.c_float),
        *fields(NUMBERS, "conv conv_bias embed embed_bias norm norm_bias"),
    ]


class NativeSteps(Steps):
    """The steps of a network that run in the kernels, for `DirectWork`: Swin blocks, ends of stages and trunks.

    Parameters
    ----------
    net : SwinNet
        In evaluation mode, float32, on the CPU.
    constants : dict
        What each block's attention derives from its weights, by the block's path.
    """

    def __init__(self, net: SwinNet, constants: dict[str, AttentionConstants]) -> None:
        self._library = library()
        for name in ("swin_scratch", "swin_row", "swin_stage_scratch"):
            getattr(self._library, name).restype = ctypes.c_ssize_t
        self._weights: list[Tensor] = []  # the kernels have their addresses
        self._blocks: dict[str, Block] = {}
        self._stages: dict[str, _Stage] = {}
        scratch = 0
        with torch.inference_mode():
            for step in network_steps(net.spec):
                if step.kind == "window":
                    block = self._block(attrgetter(step.path)(net), constants[step.path])
                    self._blocks[step.path] = block
                    scratch = max(scratch, self._library.swin_scratch(ctypes.byref(block)))
                elif step.kind in ("merge", "tail"):
                    stage = self._end(net, step.kind, step.path)
                    if stage is not None:
                        self._stages[step.path] = stage
                        scratch = max(scratch, self._library.swin_stage_scratch(ctypes.byref(stage)))
        self._scratch = Spares(lambda: torch.empty(scratch))

    def windows(self, path: str, plane: Tensor, down: int, across: int, inside: Box) -> None:
        block = self._blocks[path]
        with self._scratch.borrowed() as scratch:
            self._library.swin_block(
                ctypes.byref(block), _address(plane), ctypes.c_ssize_t(plane.stride(0)), ctypes.c_ssize_t(down),
                ctypes.c_ssize_t(across), ctypes.byref(inside), _address(scratch),
            )  # fmt: skip

    def has(self, path: str) -> bool:
        return path in self._stages  # the bottlenecks of the largest models, entrances and heads are torch's

    def end(self, path: str, place: Place, plane: Tensor, target: Tensor, source: Tensor | None = None) -> None:
        stage = self._stages[path]
        with self._scratch.borrowed() as scratch:
            self._library.swin_stage(
                ctypes.byref(stage), _address(plane), ctypes.c_ssize_t(plane.stride(0)), _address(target),
                ctypes.c_ssize_t(target.stride(0)), ctypes.c_ssize_t(place.rows), ctypes.c_ssize_t(place.columns),
                ctypes.byref(place.inside), _address(scratch),
            )  # fmt: skip

    def _block(self, block: SwinBlock, constants: AttentionConstants) -> Block:
        attn, mlp, pixels = block.attn, block.mlp, block.window**2
        scale = constants.query_scale
        if not isinstance(scale, Tensor):
            scale = torch.full((attn.heads,), scale)
        found = Block(
            dim=attn.proj.in_features, heads=attn.heads, window=block.window, hidden=mlp.fc1.out_features,
            post_norm=block.post_norm, cosine=attn.cosine, eps=block.norm1.eps,
            qkv=self._packed(attn.qkv.weight), qkv_bias=self._kept(constants.qkv_bias), scale=self._kept(scale),
            proj=self._packed(attn.proj.weight), proj_bias=self._kept(attn.proj.bias),
            norm1=self._kept(block.norm1.weight), norm1_bias=self._kept(block.norm1.bias),
            fc1=self._packed(mlp.fc1.weight), fc1_bias=self._kept(mlp.fc1.bias),
            fc2=self._packed(mlp.fc2.weight), fc2_bias=self._kept(mlp.fc2.bias),
            norm2=self._kept(block.norm2.weight), norm2_bias=self._kept(block.norm2.bias),
        )  # fmt: skip
        by_key = torch.zeros(attn.heads, pixels, self._library.swin_row(ctypes.byref(found)))
        by_key[:, :, :pixels] = constants.bias[0].transpose(1, 2)
        found.bias = self._kept(by_key)
        return found

    def _end(self, net: SwinNet, kind: str, path: str) -> _Stage | None:
        module = attrgetter(path)(net)
        conv = module.conv if kind == "merge" else module
        if not isinstance(conv, nn.Conv2d):
            return None
        found = _Stage(dim=conv.in_channels, conv=self._packed(conv.weight), conv_bias=self._kept(conv.bias))
        if kind == "merge" and module.patch_embed.proj is not None:
            found.embed = self._packed(module.patch_embed.proj.weight)
            found.embed_bias = self._kept(module.patch_embed.proj.bias)
        if kind == "tail":
            found.eps, found.norm, found.norm_bias = (
                net.norm.eps,
                self._kept(net.norm.weight),
                self._kept(net.norm.bias),
            )
        return found

    def _packed(self, weight: Tensor) -> Any:
        """``(rows, columns, ky, kx)`` -> ``(rows / 6, ky, kx, columns, 6)``: a product reads it in one go."""
        weight = weight.reshape(*weight.shape, *[1] * (4 - weight.ndim))
        rows, columns, *taps = weight.shape
        whole = torch.zeros(-(-rows // _ROWS) * _ROWS, columns, *taps)
        whole[:rows] = weight
        return self._kept(whole.view(-1, _ROWS, columns, *taps).permute(0, 3, 4, 2, 1))

    def _kept(self, values: Tensor | None) -> Any:
        if values is None:
            return None
        values = values.detach().float().contiguous()
        self._weights.append(values)
        return ctypes.cast(values.data_ptr(), NUMBERS)


def _address(values: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.data_ptr())

"""A network's weights as the kernels want them: packed, in the order in which they are read."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.native.kernels import NUM, NUMBERS, Block, Convolution, Stage, kernels
from swin2sr_ops.engine.native.planes import address, aligned
from swin2sr_ops.engine.native.position import cosine_bias, exponential, table_bias
from swin2sr_ops.spec import ModelSpec

__all__ = ["Conv", "Norm", "Weights"]

Array = NDArray[np.float32]
_ROWS = 6  # as in products.h
_VECTOR = 16  # numbers in the widest vector: weights lie alike for all widths
_EPS = 1e-5  # torch's, and so all networks'
#: Outputs up to which a convolution is computed as products that are added afterwards (conv.c, `swin_thin`).
_THIN = 8
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]


@dataclass(frozen=True)
class Conv:
    """A convolution for conv.c.

    Attributes
    ----------
    packed : Convolution
        What `swin_convolve` takes.
    reach : int
        Pixels around that it reads.
    factor : int
        Pixels beside each other that it gives for each one.
    outputs : int
        Channels of such a pixel.
    bias : int
        Address of the biases, where it is computed by `swin_thin`; else 0.
    """

    packed: Convolution
    reach: int
    factor: int
    outputs: int
    bias: int = 0


@dataclass(frozen=True)
class Norm:
    """A LayerNorm: channels, and the addresses of its weights."""

    size: int
    gain: int
    offset: int
    eps: float = _EPS


class Weights:
    """The parameters of a network, in memory that lives as long as this object does.

    Parameters
    ----------
    spec : ModelSpec
    parameters : mapping of str to ndarray
        Under the official names.
    """

    def __init__(self, spec: ModelSpec, parameters: Mapping[str, NDArray[Any]]) -> None:
        self.spec = spec
        self.kernels = kernels()
        self._given = parameters
        self._kept: list[NDArray[Any]] = []  # the kernels have their addresses

    def has(self, path: str) -> bool:
        """Tell whether the network has a module with weights at ``path``."""
        return f"{path}.weight" in self._given

    def vector(self, name: str) -> Any:
        """Return the address of a parameter as it is; None if the network has no such parameter."""
        return self._numbers(self._given[name]) if name in self._given else None

    def norm(self, path: str) -> Norm:
        """Prepare the LayerNorm at ``path``."""
        gain, offset = (self._keep(self._given[f"{path}.{name}"].astype(np.float32)) for name in ("weight", "bias"))
        return Norm(len(gain), address(gain), address(offset))

    # --- blocks and ends of stages -------------------------------------------------------------

    def block(self, path: str, heads: int) -> Block:
        """Prepare the Swin block at ``path``."""
        spec, cosine = self.spec, self.spec.architecture == "swin2sr"
        found = Block(
            dim=spec.dim, heads=heads, window=spec.window, hidden=len(self._given[f"{path}.mlp.fc1.bias"]),
            post_norm=cosine, cosine=cosine, eps=_EPS,
            qkv=self._by_six(f"{path}.attn.qkv"), proj=self._by_six(f"{path}.attn.proj"),
            proj_bias=self.vector(f"{path}.attn.proj.bias"),
            fc1=self._by_six(f"{path}.mlp.fc1"), fc1_bias=self.vector(f"{path}.mlp.fc1.bias"),
            fc2=self._by_six(f"{path}.mlp.fc2"), fc2_bias=self.vector(f"{path}.mlp.fc2.bias"),
            norm1=self.vector(f"{path}.norm1.weight"), norm1_bias=self.vector(f"{path}.norm1.bias"),
            norm2=self.vector(f"{path}.norm2.weight"), norm2_bias=self.vector(f"{path}.norm2.bias"),
        )  # fmt: skip
        if cosine:
            self._cosine(found, f"{path}.attn")
            table = cosine_bias(self.kernels, self._given, f"{path}.attn", spec.window)
        else:
            found.qkv_bias = self.vector(f"{path}.attn.qkv.bias")
            found.scale = self._numbers(np.full(heads, (spec.dim // heads) ** -0.5))
            table = table_bias(self._given[f"{path}.attn.relative_position_bias_table"], spec.window)
        pixels = spec.window**2
        by_key = np.zeros((heads, pixels, self.kernels.swin_row(ctypes.byref(found))), np.float32)
        by_key[:, :, :pixels] = table.transpose(0, 2, 1)
        found.bias = self._numbers(by_key)
        return found

    def _cosine(self, block: Block, path: str) -> None:
        largest = np.minimum(self._given[f"{path}.logit_scale"].astype(np.float64).ravel(), np.log(100.0))
        block.scale = self._numbers(exponential(largest))
        if f"{path}.q_bias" in self._given:
            q, v = (self._given[f"{path}.{name}"] for name in ("q_bias", "v_bias"))
            block.qkv_bias = self._numbers(np.concatenate([q, np.zeros_like(q), v]))

    def stage(self, conv: str, embed: str, norm: str = "") -> Stage:
        """Prepare the end of a stage or trunk that is one convolution; ``embed`` and ``norm`` where it has them."""
        found = Stage(
            dim=self.spec.dim, eps=_EPS, conv=self._by_six(conv), conv_bias=self.vector(f"{conv}.bias"),
            norm=self.vector(f"{norm}.weight"), norm_bias=self.vector(f"{norm}.bias"),
        )  # fmt: skip
        if self.has(embed):
            found.embed, found.embed_bias = self._by_six(embed), self.vector(f"{embed}.bias")
        return found

    def _by_six(self, path: str) -> Any:
        """``(rows, columns, ky, kx)`` -> ``(rows / 6, ky, kx, columns, 6)``: a product reads it in one go."""
        weight = self._given[f"{path}.weight"]
        rows, columns, *taps = weight.shape + (1,) * (4 - weight.ndim)
        whole = np.zeros((-(-rows // _ROWS) * _ROWS, columns, *taps), np.float32)
        whole[:rows] = weight.reshape(rows, columns, *taps)
        return self._numbers(whole.reshape(-1, _ROWS, columns, *taps).transpose(0, 3, 4, 2, 1))

    # --- convolutions ----------------------------------------------------------------------------

    def conv(self, path: str, slope: float = 1.0) -> Conv:
        """Prepare the convolution at ``path``, 3x3 or 1x1, and the leaky ReLU behind it."""
        weight, bias = self._weight(path)
        taps = _AROUND if weight.shape[-1] == 3 else [(0, 0)]
        by_tap = weight.reshape(*weight.shape[:2], -1).transpose(2, 1, 0)  # (taps, inputs, outputs)
        if len(taps) == 9 and len(weight) <= _THIN and slope == 1.0:
            products = by_tap.transpose(1, 0, 2).reshape(1, 1, weight.shape[1], -1)
            none = np.zeros((1, products.shape[-1]), np.float32)
            return Conv(self._pack(products, none, [[(0, 0)]], 1, 1.0), 1, 1, len(weight), address(self._keep(bias)))
        reach = len(taps) // 9
        return Conv(self._pack(by_tap[None], bias[None], [taps], 1, slope), reach, 1, len(weight))

    def shuffled(self, path: str, factor: int) -> Conv:
        """Prepare the convolution at ``path`` with the pixel shuffle behind it."""
        weight, bias = self._weight(path)
        outputs, phases = len(weight) // factor**2, factor**2  # channel c f f + i f + j is c of pixel (i, j)
        by_phase = weight.reshape(outputs, phases, weight.shape[1], 9).transpose(1, 3, 2, 0)
        packed = self._pack(by_phase, bias.reshape(outputs, phases).T, [_AROUND] * phases, factor, 1.0)
        return Conv(packed, 1, factor, outputs)

    def enlarged(self, path: str, slope: float) -> Conv:
        """Prepare the convolution at ``path`` of an image enlarged twice by its nearest pixels, and a leaky ReLU.

        Of the nine pixels that it reads, some are one: each of the four that it gives reads four, by sums of weights.
        """
        weight, bias = self._weight(path)
        first = {0: (-1, 0), 1: (0, 1)}  # which of the small image's rows (columns) the first (second) pixel reads
        of_tap = {0: (0, 1, 1), 1: (0, 0, 1)}  # and which of the two each row of the kernel reads
        wide = weight.astype(np.float64)
        phases, offsets = [], []
        for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
            taps = np.zeros((2, 2, weight.shape[1], len(weight)))
            for ky, kx in ((ky, kx) for ky in range(3) for kx in range(3)):
                taps[of_tap[i][ky], of_tap[j][kx]] += wide[:, :, ky, kx].T
            phases.append(taps.reshape(4, weight.shape[1], len(weight)))
            offsets.append([(dy, dx) for dy in first[i] for dx in first[j]])
        packed = self._pack(np.stack(phases).astype(np.float32), np.stack([bias] * 4), offsets, 2, slope)
        return Conv(packed, 1, 2, len(weight))

    def _weight(self, path: str) -> tuple[Array, Array]:
        return self._given[f"{path}.weight"].astype(np.float32), self._given[f"{path}.bias"].astype(np.float32)

    def _pack(
        self, weight: Array, bias: Array, offsets: list[list[tuple[int, int]]], factor: int, slope: float
    ) -> Convolution:
        """``(phases, taps, inputs, outputs)`` -> the same with outputs filled up to whole vectors."""
        phases, taps, inputs, outputs = weight.shape
        wide = -(-outputs // _VECTOR) * _VECTOR
        whole, filled = np.zeros((phases, taps, inputs, wide), np.float32), np.zeros((phases, wide), np.float32)
        whole[..., :outputs], filled[:, :outputs] = weight, bias
        places = self._keep(np.array(offsets, np.dtype(NUM)))
        return Convolution(
            inputs=inputs, outputs=outputs, taps=taps, factor=factor, slope=slope,
            offsets=ctypes.cast(address(places), ctypes.POINTER(NUM)),
            weights=self._numbers(whole), bias=self._numbers(filled),
        )  # fmt: skip

    # --- memory ----------------------------------------------------------------------------------

    def _numbers(self, values: NDArray[Any]) -> Any:
        return ctypes.cast(address(self._keep(values.astype(np.float32, copy=False))), NUMBERS)

    def _keep(self, values: NDArray[Any]) -> NDArray[Any]:
        kept = aligned(*values.shape) if values.dtype == np.float32 else np.empty_like(values, order="C")
        kept[...] = values
        self._kept.append(kept)
        return kept

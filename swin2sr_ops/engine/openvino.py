"""Run Swin blocks compiled by OpenVINO for the tile engine's only shape: ``(16, P, C)`` float32 tokens.

A block's weights, and the position bias derived from them, are constants of its graph. Cells at
the image's border need a key mask, so they have a separate graph with the mask as a second input,
compiled at its first use. Each inference runs on one thread; inferences of several threads run in parallel.

The arithmetic is that of `SwinBlock.tokens` in other kernels: results differ from torch's in the last bits
(measured: about 2e-6 of the range), and like torch's they do not depend on the tiling.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from swin2sr_ops.engine.threads import Spares
from swin2sr_ops.geometry.plan import CELL_WINDOWS
from swin2sr_ops.geometry.steps import network_steps
from swin2sr_ops.nets.blocks import SwinBlock

if TYPE_CHECKING:
    from swin2sr_ops.nets.attention import AttentionConstants
    from swin2sr_ops.nets.network import SwinNet

__all__ = ["CompiledBlocks"]


class CompiledBlocks:
    """Compile the Swin blocks of a network, each one at its first call.

    Parameters
    ----------
    net : SwinNet
        In evaluation mode, float32, on the CPU.
    constants : dict
        Attention constants derived from each block's weights, by the block's path.
    """

    def __init__(self, net: SwinNet, constants: dict[str, AttentionConstants]) -> None:
        import openvino

        self._core = openvino.Core()
        threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._options = {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 on CPUs that support it
            "NUM_STREAMS": str(threads),
            "INFERENCE_NUM_THREADS": str(threads),  # one per stream
            "ENABLE_CPU_PINNING": "NO",
        }
        self._blocks = {
            step.path: (attrgetter(step.path)(net), constants[step.path])
            for step in network_steps(net.spec)
            if step.kind == "window"
        }
        self._windows, self._pixels, self._dim = CELL_WINDOWS**2, net.spec.window**2, net.spec.dim
        self._graphs: dict[tuple[str, bool], _Graph] = {}
        self._lock = threading.Lock()

    def run(self, path: str, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Run the block at ``path`` on ``(16, P, C)`` tokens; ``mask`` ``(16, 1, 1, P)`` is added to its logits."""
        return self._graph(path, mask is not None).run(tokens, mask)

    def _graph(self, path: str, masked: bool) -> _Graph:
        key = path, masked
        with self._lock:  # also during compilation: other threads then need the same graph
            if key not in self._graphs:
                model = self._model(*self._blocks[path], masked)
                self._graphs[key] = _Graph(self._core.compile_model(model, "CPU", self._options))
            return self._graphs[key]

    def _model(self, block: SwinBlock, constants: AttentionConstants, masked: bool) -> Any:
        import openvino
        from openvino import opset13 as ops

        x = ops.parameter([self._windows, self._pixels, self._dim], np.float32)
        inputs = [x]
        bias = ops.constant(_array(constants.bias))
        if masked:
            inputs.append(ops.parameter([self._windows, 1, 1, self._pixels], np.float32))
            bias = ops.add(bias, inputs[1])
        build = _Builder(ops, self._windows, self._pixels)
        attend = build.attention
        if block.post_norm:
            y = ops.add(x, build.norm(attend(x, block.attn, constants, bias), block.norm1))
            y = ops.add(y, build.norm(build.mlp(y, block.mlp), block.norm2))
        else:
            y = ops.add(x, attend(build.norm(x, block.norm1), block.attn, constants, bias))
            y = ops.add(y, build.mlp(build.norm(y, block.norm2), block.mlp))
        return openvino.Model([y], inputs)


class _Graph:
    """A compiled graph and its idle inference requests."""

    def __init__(self, compiled: Any) -> None:
        self._requests = Spares(lambda: _Request.of(compiled))

    def run(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        with self._requests.borrowed() as request:
            request.tokens.copy_(tokens)
            if mask is not None:
                request.mask.copy_(mask)
            request.request.infer()
            return request.result.clone()  # another thread may run this request next


@dataclass(frozen=True)
class _Request:
    """An inference request, and torch's view of its buffers."""

    request: Any
    tokens: Tensor
    mask: Tensor
    result: Tensor

    @classmethod
    def of(cls, compiled: Any) -> _Request:
        request = compiled.create_infer_request()
        inputs = [torch.from_numpy(tensor.data) for tensor in request.input_tensors]
        return cls(request, inputs[0], inputs[-1], torch.from_numpy(request.output_tensors[0].data))


@dataclass(frozen=True)
class _Builder:
    """Build parts of a Swin block as nodes of an OpenVINO graph; ``ops`` is its operator set."""

    ops: Any
    windows: int
    pixels: int

    def linear(self, x: Any, weight: Tensor, bias: Tensor | None) -> Any:
        y = self.ops.matmul(x, self.ops.constant(_array(weight)), False, True)
        return y if bias is None else self.ops.add(y, self.ops.constant(_array(bias)))

    def norm(self, x: Any, norm: torch.nn.LayerNorm) -> Any:
        ops = self.ops
        y = ops.mvn(x, ops.constant(np.array([-1])), True, norm.eps, "inside_sqrt")
        return ops.add(ops.multiply(y, ops.constant(_array(norm.weight))), ops.constant(_array(norm.bias)))

    def mlp(self, x: Any, mlp: Any) -> Any:
        hidden = self.ops.gelu(self.linear(x, mlp.fc1.weight, mlp.fc1.bias), "erf")
        return self.linear(hidden, mlp.fc2.weight, mlp.fc2.bias)

    def attention(self, x: Any, attn: Any, constants: AttentionConstants, bias: Any) -> Any:
        ops, dim = self.ops, attn.proj.in_features
        qkv = self.linear(x, attn.qkv.weight, constants.qkv_bias)
        shape = ops.constant(np.array([self.windows, self.pixels, 3, attn.heads, dim // attn.heads]))
        order = ops.constant(np.array([2, 0, 3, 1, 4]))
        parts = ops.split(ops.transpose(ops.reshape(qkv, shape, False), order), ops.constant(np.array(0)), 3)
        q, k, v = (ops.squeeze(part, ops.constant(np.array([0]))) for part in parts.outputs())  # (16, h, P, d)
        scale = constants.query_scale
        if isinstance(scale, Tensor):
            q, k = self.unit(q), self.unit(k)
        factor = _array(scale) if isinstance(scale, Tensor) else np.float32(scale)
        logits = ops.matmul(ops.multiply(q, ops.constant(factor)), k, False, True)
        weights = ops.softmax(ops.add(logits, bias), -1)
        y = ops.transpose(ops.matmul(weights, v, False, False), ops.constant(np.array([0, 2, 1, 3])))
        y = ops.reshape(y, ops.constant(np.array([self.windows, self.pixels, dim])), False)
        return self.linear(y, attn.proj.weight, attn.proj.bias)

    def unit(self, x: Any) -> Any:
        """Normalise vectors along the last axis, like `torch.nn.functional.normalize`."""
        return self.ops.normalize_l2(x, self.ops.constant(np.array([-1])), 1e-24, "max")


def _array(tensor: Tensor) -> Any:
    return np.ascontiguousarray(tensor.detach().numpy())

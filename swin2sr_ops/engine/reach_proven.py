"""Prove the receptive field of a network, if it is a graph of convolutions and pixelwise operations.

The network's graph is walked from its input. At each step it is known how fine the pixels are
(``step``: how many input pixels apart) and how far they look, in input pixels beyond their own
square. Anything that is not known here ends the proof: pooling over the image, attention, a
normalisation over the image, control flow, views of other shapes.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

__all__ = ["Sight", "proven_sight"]


@dataclass(frozen=True)
class Sight:
    """Receptive field of the pixels of a plane.

    Attributes
    ----------
    reach : Fraction
        Input pixels beyond the pixel's own square, on any side.
    step : Fraction
        Side of a pixel's square in input pixels: 2 after a convolution with stride 2, 1/4 once enlarged.
    coarsest : Fraction
        The largest step so far: where the grid begins matters if it is above 1.
    """

    reach: Fraction = Fraction(0)
    step: Fraction = Fraction(1)
    coarsest: Fraction = Fraction(1)

    def wider(self, pixels: Fraction | int) -> Sight:
        """Looking so many of its own pixels further."""
        return replace(self, reach=self.reach + pixels * self.step)

    def finer(self, factor: int) -> Sight:
        """Enlarged: a new pixel stands for a part of an old one, and looks where that looked."""
        return replace(self, reach=self.reach + self.step - self.step / factor, step=self.step / factor)

    def coarser(self, factor: int) -> Sight:
        """Reduced: a new pixel is a square of old ones."""
        step = self.step * factor
        return replace(self, step=step, coarsest=max(step, self.coarsest))


class _NotKnown(Exception):
    pass


#: Layers, functions and methods that give each pixel from the same pixel of their inputs, evaluated, not trained.
_POINTWISE = (
    *(nn.Identity, nn.Dropout, nn.Dropout2d, nn.BatchNorm2d, nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU),
    *(nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardswish, nn.Hardsigmoid, nn.ReLU6),
)
_FUNCTIONS: set[Callable[..., Any]] = {
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.neg, operator.iadd, operator.imul),
    *(operator.isub, torch.add, torch.sub, torch.mul, torch.sigmoid, torch.tanh, torch.relu, torch.clamp),
    *(F.relu, F.leaky_relu, F.gelu, F.silu, F.sigmoid, F.tanh, F.mish, F.elu),
}
_IN_PLACE = {operator.iadd, operator.isub, operator.imul}
_METHODS = {"add", "add_", "mul", "mul_", "sub", "sub_", "clamp", "clamp_", "clone", "contiguous", "sigmoid", "tanh"}
_METHODS |= {"relu", "relu_", "float", "detach"}


class _Stand(fx.Proxy):
    """A tracer's stand-in for which ``y += x`` is what it is to a tensor: a change of ``y`` under all its names."""

    def __iadd__(self, other: object) -> fx.Proxy:
        return self._change(operator.iadd, other)

    def __isub__(self, other: object) -> fx.Proxy:
        return self._change(operator.isub, other)

    def __imul__(self, other: object) -> fx.Proxy:
        return self._change(operator.imul, other)

    def _change(self, how: Callable[..., Any], other: object) -> fx.Proxy:
        found: fx.Proxy = self.tracer.create_proxy("call_function", how, (self, other), {})
        return found


class _Tracer(fx.Tracer):
    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Stand(node, self)


def proven_sight(call: Callable[[nn.Module, Tensor], Tensor], model: nn.Module) -> Sight | None:
    """Return the receptive field of a pixel of ``call(model, image)``; None if it cannot be proven."""
    try:
        twin = copy.deepcopy(model)  # modules that keep what they are given would keep the tracer's stand-ins
    except Exception:  # noqa: BLE001  (not every module can be copied)
        return None

    class Traced(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = twin

        def forward(self, x: Tensor) -> Tensor:
            return call(self.model, x)

    try:
        module = Traced().eval()
        return _walk(_Tracer().trace(module), dict(module.named_modules()), module)
    except Exception:  # noqa: BLE001  (whatever keeps a network from being traced keeps it from being proven)
        return None


def _walk(graph: fx.Graph, modules: Mapping[str, nn.Module], root: nn.Module) -> Sight:
    seen: dict[fx.Node, Sight | None] = {}  # None: a constant
    for node in graph.nodes:
        if node.op == "output":
            found = _of(node.args[0], seen)
            if not isinstance(found, Sight):
                raise _NotKnown
            return found
        if node.op == "placeholder":
            seen[node] = Sight()
        elif node.op == "get_attr":
            _check_constant(operator.attrgetter(str(node.target))(root))
            seen[node] = None
        elif node.op == "call_module":
            seen[node] = _layer(modules[node.target], _of(node.args[0], seen), node)
        else:
            seen[node] = _call(node, seen)
    raise _NotKnown


def _of(value: Any, seen: Mapping[fx.Node, Sight | None]) -> Sight | None:
    if not isinstance(value, fx.Node):
        raise _NotKnown
    return seen[value]


def _check_constant(value: object) -> None:
    """A number per channel, or one: at every pixel the same."""
    if not isinstance(value, Tensor) or (value.ndim > 0 and value.numel() != 1 and value.shape[-2:] != (1, 1)):
        raise _NotKnown


def _layer(layer: nn.Module, given: Sight | None, node: fx.Node) -> Sight:
    if given is None or len(node.args) != 1 or node.kwargs:
        raise _NotKnown
    if type(layer) is nn.Conv2d:
        return _convolved(layer, given)
    if type(layer) is nn.ConvTranspose2d:
        return _transposed(layer, given)
    if isinstance(layer, nn.PixelShuffle):
        return given.finer(layer.upscale_factor)
    if isinstance(layer, nn.PixelUnshuffle):
        return given.coarser(layer.downscale_factor)
    if isinstance(layer, nn.Upsample) and layer.size is None and layer.mode == "nearest":
        return given.finer(_whole(layer.scale_factor))
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is None:
        raise _NotKnown  # its mean and variance are those of the whole image
    if type(layer) in _POINTWISE:
        return given
    raise _NotKnown


def _convolved(layer: nn.Conv2d, given: Sight) -> Sight:
    """Square or not: the widest side counts."""
    if isinstance(layer.padding, str) or layer.padding_mode not in ("zeros", "reflect", "replicate"):
        raise _NotKnown
    widest, factors = 0, set[int]()
    for kernel, stride, padding, dilation in zip(
        layer.kernel_size, layer.stride, layer.padding, layer.dilation, strict=True
    ):
        # A result's square is `stride` pixels; it looks `padding` before them, and so many after them:
        after = dilation * (kernel - 1) - padding - (stride - 1)
        if not padding - (stride - 1) <= after <= padding:  # else n pixels do not become n / stride
            raise _NotKnown
        widest, factors = max(widest, padding, after), factors | {stride}
    if len(factors) != 1:
        raise _NotKnown
    return given.wider(widest).coarser(factors.pop())


def _transposed(layer: nn.ConvTranspose2d, given: Sight) -> Sight:
    widest, factors = 0, set[int]()
    for axis in (0, 1):
        stride, taps = layer.stride[axis], layer.dilation[axis] * (layer.kernel_size[axis] - 1)
        if taps + 1 + layer.output_padding[axis] - 2 * int(layer.padding[axis]) != stride:
            raise _NotKnown  # n pixels do not become n * stride
        widest, factors = max(widest, math.ceil(taps / stride)), factors | {stride}
    if len(factors) != 1:
        raise _NotKnown
    return given.wider(widest).finer(factors.pop())


def _call(node: fx.Node, seen: Mapping[fx.Node, Sight | None]) -> Sight | None:
    if node.op == "call_method" and node.target not in _METHODS:
        raise _NotKnown
    if node.target is torch.cat:
        return _joined(node, seen)
    inputs = [seen[other] for other in node.all_input_nodes]
    if node.target is F.interpolate:
        return _enlarged(node, inputs)
    if node.target in (torch.pixel_unshuffle, F.pixel_unshuffle, torch.pixel_shuffle, F.pixel_shuffle):
        return _shuffled(node, inputs)
    if node.op == "call_function" and node.target not in _FUNCTIONS:
        raise _NotKnown
    found = _together(inputs)
    if "out" in node.kwargs:
        raise _NotKnown
    if node.target in _IN_PLACE or (node.op == "call_method" and str(node.target).endswith("_")):
        changed = seen[node.all_input_nodes[0]]
        if changed is None or found is None or changed != found:  # others may hold it as it was
            raise _NotKnown
    return found


def _joined(node: fx.Node, seen: Mapping[fx.Node, Sight | None]) -> Sight:
    dim = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
    inputs = [seen[other] for other in node.all_input_nodes]
    found = _together(inputs)
    if dim not in (1, -3) or found is None or None in inputs:
        raise _NotKnown
    return found


def _together(inputs: list[Sight | None]) -> Sight | None:
    """Planes of the same pixels, put together pixel by pixel."""
    planes = [sight for sight in inputs if sight is not None]
    if not planes:
        return None
    if len({sight.step for sight in planes}) != 1:
        raise _NotKnown
    return replace(planes[0], reach=max(s.reach for s in planes), coarsest=max(s.coarsest for s in planes))


def _enlarged(node: fx.Node, inputs: list[Sight | None]) -> Sight:
    options = dict(zip(("input", "size", "scale_factor", "mode"), node.args, strict=False)) | dict(node.kwargs)
    if len(inputs) != 1 or inputs[0] is None or options.get("size") is not None:
        raise _NotKnown
    if options.get("mode", "nearest") != "nearest":
        raise _NotKnown
    return inputs[0].finer(_whole(options.get("scale_factor")))


def _shuffled(node: fx.Node, inputs: list[Sight | None]) -> Sight:
    factor = node.args[1] if len(node.args) > 1 else next(iter(node.kwargs.values()), None)
    if len(inputs) != 1 or inputs[0] is None or not isinstance(factor, int):
        raise _NotKnown
    reduces = node.target in (torch.pixel_unshuffle, F.pixel_unshuffle)
    return inputs[0].coarser(factor) if reduces else inputs[0].finer(factor)


def _whole(factor: Any) -> int:
    """A factor that is the same whole number along Y and X."""
    factors = set(factor) if isinstance(factor, (tuple, list)) else {factor}
    found = factors.pop()
    if factors or not isinstance(found, (int, float)) or found != int(found) or found < 1:
        raise _NotKnown
    return int(found)

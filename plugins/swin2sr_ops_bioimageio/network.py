"""A package's network as a plain module: ``(1, C, H, W)`` of any size in 0..1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from swin2sr_ops.hosting import pad_by_reflection
from swin2sr_ops_bioimageio.tensors import Tensors
from swin2sr_ops_bioimageio.values import Values

__all__ = ["OnnxNetwork", "PackageNetwork"]


class OnnxNetwork(nn.Module):
    """An ONNX graph that ONNX Runtime computes on the CPU, with one input and one output."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        import onnxruntime

        self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        (self.name,) = (tensor.name for tensor in self.session.get_inputs())

    def forward(self, x: Tensor) -> Tensor:
        """Run the graph."""
        restored = self.session.run(None, {self.name: x.detach().float().cpu().numpy()})[0]
        return torch.from_numpy(restored).to(x.device, x.dtype)


class PackageNetwork(nn.Module):
    """A network with its order of axes, its sizes and its values translated."""

    def __init__(self, model: nn.Module, tensors: Tensors, values: Values) -> None:
        super().__init__()
        self.model = model.eval()
        self.requires_grad_(False)  # of the parameters: a TorchScript module itself has no such method
        self.tensors, self.values, self.scale = tensors, values, tensors.scale

    def call(self, model: nn.Module, x: Tensor) -> Tensor:
        """Call ``model`` on an image whose size it takes."""
        for step in self.values.before:
            x = step(x)
        if self.tensors.given != "bcyx":
            x = x.permute(*_order("bcyx", self.tensors.given)).squeeze(_missing(self.tensors.given))
        found: Any = model(x)
        found = found[0] if isinstance(found, Sequence) else found
        if self.tensors.restored != "bcyx":
            absent = [letter for letter in "bc" if letter not in self.tensors.restored]
            found = found.reshape(*(1 for _ in absent), *found.shape)
            found = found.permute(*_order("".join(absent) + self.tensors.restored, "bcyx"))
        for step in self.values.after:
            found = step(found)
        result: Tensor = found
        return result

    def forward(self, x: Tensor) -> Tensor:
        """Restore one image; padded by reflection to a size that the network takes."""
        height, width = x.shape[-2:]
        padded = pad_by_reflection(x, *(self._side(n) - n for n in (width, height)))
        found: Tensor = self.call(self.model, padded)
        return found[..., : height * self.scale, : width * self.scale]

    def _side(self, n: int) -> int:
        """Return the smallest side that the network takes and an image of ``n`` pixels fits into."""
        minimum, step = self.tensors.minimum, self.tensors.multiple
        if self.tensors.fixed:
            return max(n, self.tensors.fixed)
        return minimum + -(-max(n - minimum, 0) // step) * step


def _order(given: str, wanted: str) -> list[int]:
    """Return the permutation of ``given`` that puts the letters of ``wanted`` last, those that it lacks first."""
    absent = [letter for letter in given if letter not in wanted]
    return [given.index(letter) for letter in [*absent, *wanted]]


def _missing(wanted: str) -> tuple[int, ...]:
    return tuple(range(4 - len(wanted)))

"""Record calls into the kernels with their results; ``calls.c`` repeats them on another processor."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swin2sr_ops.engine.native import build, kernels as steps, learning, weights
from swin2sr_ops.engine.native.build import library
from swin2sr_ops.engine.native.planes import Plane
from swin2sr_ops.engine.tile_engine import TileEngine
from tests.conftest import random_net, small_spec
from tests.engine.native.test_learning import derivatives, random_trained
from tests.engine.test_tile_engine import run

#: Networks whose calls are recorded: architecture, window, dimensions, heads.
KINDS = (("swin2sr", 8, 24, 2), ("swinir", 7, 20, 2), ("swin2sr", 5, 30, 3), ("swin2sr", 8, 60, 6))

FOLDER = Path(build.__file__).parent
SOURCES = [Path(__file__).with_name("calls.c"), *(FOLDER / name for part in build.SOURCES.values() for name in part)]


class Recorder:
    """Record the kernels' calls in the format of ``calls.c``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stream = bytearray()
        self._known: list[np.ndarray] = []  # whose addresses kernels are given
        real, keep, made, learn = weights.kernels, weights.Weights._keep, Plane.__init__, learning._Call.run

        def noting() -> Noting:
            return Noting(real(), self)

        def note_plane(mine: Plane, data: np.ndarray, top: int, left: int) -> None:
            self._known.append(data)
            made(mine, data, top, left)

        def note_weights(mine: weights.Weights, values: np.ndarray) -> np.ndarray:
            self._known.append(keep(mine, values))
            return self._known[-1]

        def note_learn(mine: learning._Call, gradient: Tensor | None, sums: list[learning.Sums]) -> Tensor:
            output = learn(mine, gradient, sums)
            self.learn(mine, gradient, sums[0] if sums else mine.zeros(), output)
            return output

        monkeypatch.setattr(weights, "kernels", noting)
        monkeypatch.setattr(Plane, "__init__", note_plane)
        monkeypatch.setattr(weights.Weights, "_keep", note_weights)
        monkeypatch.setattr(learning._Call, "run", note_learn)

    def note(self, name: str, function: Any, args: tuple[Any, ...]) -> None:
        """Record a call, make it, and record what it changed."""
        target = getattr(self, name)(*args)
        function(*args)
        self.arrays(target)

    def swin_block(self, of: Any, first: int, stride: int, down: int, across: int, inside: Any, scratch: int) -> Any:
        plane = self.at(first)
        self.words(1)
        self.block(of._obj, library().swin_row(of), self._pointed)
        self.words(plane.size, offset(plane, first), stride, down, across)
        self.stream += bytes(inside._obj)
        self.arrays(plane)
        return plane

    def swin_stage(self, of: Any, first: int, stride: int, to: int, to_stride: int, *size: Any) -> Any:
        source, target = self.at(first), self.at(to)
        self.words(2, of._obj.dim)
        self.stream += struct.pack("<f", of._obj.eps)
        self.weights(of._obj, self._pointed)
        self.words(source.size, offset(source, first), stride, *size[:2])
        self.stream += bytes(size[2]._obj)
        self.arrays(source, target)
        return target

    def swin_convolve(self, of: Any, *places: Any) -> Any:
        self.words(4)
        self.convolution(of._obj)
        return self.planes(*places)

    def swin_thin(self, of: Any, outputs: int, bias: int, *places: Any) -> Any:
        self.words(5)
        self.convolution(of._obj)
        self.words(outputs)
        self.counted(self._pointed(bias))
        return self.planes(*places[:-1])

    def swin_norm(self, size: int, eps: float, gain: int, shift: int, *places: Any) -> Any:
        self.words(6, size)
        self.stream += struct.pack("<f", eps)
        self.counted(self._pointed(gain))
        self.counted(self._pointed(shift))
        return self.planes(*places)

    def swin_finish(
        self, source: int, stride: int, rows: int, columns: int, channels: int, factor: int, value_range: float,
        mean: int, target: int, to_stride: int, plane: int,
    ) -> Any:  # fmt: skip
        self.words(7, rows, columns, channels, factor, to_stride, plane)
        self.stream += struct.pack("<f", value_range)
        self.arrays(lying(mean, channels))
        whole = self.at(source)
        self.words(whole.size, offset(whole, source), stride)
        self.arrays(whole)
        size = (channels - 1) * plane + (rows * factor - 1) * to_stride + columns * factor
        self.words(size)
        result = lying(target, size)
        self.arrays(result)
        return result

    def swin_position(self, places: int, hidden: int, heads: int, *parts: int) -> Any:
        self.words(8, places, hidden, heads)
        coordinates, first, bias, out, result, _ = parts
        self.arrays(lying(coordinates, 2 * places, np.float64))
        self.arrays(lying(first, 2 * hidden), lying(bias, hidden), lying(out, heads * hidden))
        return lying(result, heads * places, np.float64)

    def swin_bicubic(self, weights: int, factor: int, channels: int, *places: Any) -> Any:
        source, stride, target, to_stride, *numbers, inside, _ = places
        self.words(9, factor, channels, *numbers)
        self.stream += bytes(inside._obj)
        self.arrays(lying(weights, 5 * factor))
        found = None
        for first, row in ((source, stride), (target, to_stride)):
            found = self.at(first)
            self.words(found.size, offset(found, first), row)
            self.arrays(found)
        return found

    def convolution(self, conv: steps.Convolution) -> None:
        self.words(conv.inputs, conv.outputs, conv.taps, conv.factor)
        self.stream += struct.pack("<f", conv.slope)
        count = 2 * conv.taps * conv.factor**2
        self.words(count, *conv.offsets[:count])
        self.weights(conv, self._pointed)

    def planes(self, *places: Any) -> Any:
        """Planes with their strides, the last of which is the target, then rows, columns and the image's."""
        *parts, rows, columns, inside = places
        target = None
        for first, stride in zip(parts[::2], parts[1::2], strict=True):
            if not first:
                self.words(0, 0, 0)
                continue
            target = self.at(first)
            self.words(target.size, offset(target, first), stride)
            self.arrays(target)
        self.words(rows, columns)
        self.stream += bytes(inside._obj)
        return target

    def at(self, address: int) -> np.ndarray:
        """Return the array that contains an address: the newest one if several had this place."""
        return next(a for a in reversed(self._known) if 0 <= address - a.ctypes.data < a.nbytes)

    def _pointed(self, address: int) -> Tensor:
        found = next(a for a in reversed(self._known) if a.ctypes.data == address)
        return torch.from_numpy(found)

    def arrays(self, *arrays: np.ndarray) -> None:
        for array in arrays:
            self.stream += array.tobytes()

    def networks(self) -> bytes:
        """Run small networks, in inference and in training, on one thread."""
        for architecture, window, dim, heads in KINDS:
            changes = {"architecture": architecture, "window": window, "dim": dim, "heads": (heads,), "depths": (2,)}
            run(TileEngine(random_net(small_spec(**changes)), kernels="native"), torch.rand(1, 30, 21), (30, 21))
            if heads == 3:  # longer heads and ends
                longer = small_spec(**changes, upsampler="pixelshuffle_aux", channels=3, resi_connection="3conv")
                run(TileEngine(random_net(longer), kernels="native"), torch.rand(3, 14, 13), (14, 13))
            net = random_trained(**changes)
            learning.learn_natively(net)
            derivatives(net, torch.rand(1, net.spec.channels, 19, 24))
        self.words(0)
        return bytes(self.stream)

    def words(self, *numbers: int) -> None:
        self.stream += struct.pack(f"<{len(numbers)}q", *numbers)

    def numbers(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            self.stream += tensor.detach().contiguous().numpy().tobytes()

    def counted(self, tensor: Tensor | None) -> None:
        self.words(0 if tensor is None else tensor.numel())
        if tensor is not None:
            self.numbers(tensor)

    def block(self, block: steps.Block, row: int, kept: Callable[[int], Tensor]) -> None:
        self.stream += bytes(block)[: steps.Block.eps.offset] + struct.pack("<f", block.eps)
        self.words(row)
        self.weights(block, kept)

    def weights(self, kernel: Any, kept: Callable[[int], Tensor]) -> None:
        for name, kind in kernel._fields_:
            if kind is steps.NUMBERS:
                address = ctypes.cast(getattr(kernel, name), ctypes.c_void_p).value
                self.counted(kept(address) if address else None)

    def learn(self, call: learning._Call, gradient: Tensor | None, sums: learning.Sums, output: Tensor) -> None:
        count, height, width, _ = call.plane.shape
        w, shift = call.block.window, call.block.shift
        self.words(3)
        known = {tensor.data_ptr(): tensor for tensor in call._read.values()}
        self.block(call.spec, call.row, known.__getitem__)
        self.words(height // w, width // w, shift, count * (height // w) * (width // w), call.plane.numel())
        self.counted(learning._masks(w, shift, call.row) if shift else None)
        self.numbers(call.plane)
        self.counted(gradient)
        found = []
        for name in learning._NAMES:
            kind = 0 if name in learning._WEIGHTS else 1 if name == "bias" else 2
            values = sums[name].flatten(0, -2)
            shown = (call._read[name].shape[1], call.pixels, values.shape[1])[kind] if kind < 2 else values.shape[1]
            self.words(kind, len(values), shown)
            found.append(values[:, :shown])
        self.numbers(output, *found)


class Noting:
    """Kernels; some record their calls."""

    def __init__(self, kernels: ctypes.CDLL, recorder: Recorder) -> None:
        self._kernels, self._recorder = kernels, recorder

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._kernels, name)
        if not hasattr(self._recorder, name):
            return function
        return lambda *args: self._recorder.note(name, function, args)


def lying(address: int, count: int, kind: type[np.floating] = np.float32) -> np.ndarray:
    """Return the numbers from an address on."""
    wide = ctypes.c_float if kind is np.float32 else ctypes.c_double
    return np.ctypeslib.as_array((wide * count).from_address(address))


def offset(array: np.ndarray, address: int) -> int:
    """Return the index of an address in an array."""
    return (address - array.ctypes.data) // 4

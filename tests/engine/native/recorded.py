"""Calls into the kernels with what they gave, written down for ``calls.c``, which repeats them on another processor."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swin2sr_ops.engine.block_runner import Box, Place
from swin2sr_ops.engine.native import build, kernels as steps, learning
from swin2sr_ops.engine.tile_engine import TileEngine
from tests.conftest import random_net, small_spec
from tests.engine.native.test_learning import derivatives, random_trained
from tests.engine.test_tile_engine import run

#: Networks whose calls are recorded: architecture, window, dimensions, heads.
KINDS = (("swin2sr", 8, 24, 2), ("swinir", 7, 20, 2), ("swin2sr", 5, 30, 3), ("swin2sr", 8, 60, 6))

FOLDER = Path(build.__file__).parent
SOURCES = [Path(__file__).with_name("calls.c"), *(FOLDER / name for part in build._SOURCES.values() for name in part)]


class Recorder:
    """Notes the kernels' calls in the words of ``calls.c``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told = bytearray()
        windows, end, learn = steps.NativeSteps.windows, steps.NativeSteps.end, learning._Call.run

        def note_windows(
            mine: steps.NativeSteps, path: str, plane: Tensor, down: int, across: int, inside: Box
        ) -> None:
            block = mine._blocks[path]
            self.words(1)
            self.block(block, mine._library.swin_row(ctypes.byref(block)), mine._weights)
            self.words(whole(plane).numel(), plane.storage_offset(), plane.stride(0), down, across)
            self.told += bytes(inside)
            self.numbers(whole(plane))
            windows(mine, path, plane, down, across, inside)
            self.numbers(whole(plane))

        def note_end(mine: steps.NativeSteps, path: str, place: Place, source: Tensor, target: Tensor) -> None:
            stage = mine._stages[path]
            self.words(2, stage.dim)
            self.told += struct.pack("<f", stage.eps)
            self.weights(stage, mine._weights)
            self.words(whole(source).numel(), source.storage_offset(), source.stride(0), place.rows, place.columns)
            self.told += bytes(place.inside)
            self.numbers(whole(source), whole(target))
            end(mine, path, place, source, target)
            self.numbers(whole(target))

        def note_learn(mine: learning._Call, gradient: Tensor | None, sums: list[learning.Sums]) -> Tensor:
            output = learn(mine, gradient, sums)
            self.learn(mine, gradient, sums[0] if sums else mine.zeros(), output)
            return output

        monkeypatch.setattr(steps.NativeSteps, "windows", note_windows)
        monkeypatch.setattr(steps.NativeSteps, "end", note_end)
        monkeypatch.setattr(learning._Call, "run", note_learn)

    def networks(self) -> bytes:
        """Run small networks, in inference and in training, on one thread."""
        for architecture, window, dim, heads in KINDS:
            changes = {"architecture": architecture, "window": window, "dim": dim, "heads": (heads,), "depths": (2,)}
            run(TileEngine(random_net(small_spec(**changes)), kernels="native"), torch.rand(1, 30, 21), (30, 21))
            net = random_trained(**changes)
            learning.learn_natively(net)
            derivatives(net, torch.rand(1, net.spec.channels, 19, 24))
        self.words(0)
        return bytes(self.told)

    def words(self, *numbers: int) -> None:
        self.told += struct.pack(f"<{len(numbers)}q", *numbers)

    def numbers(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            self.told += tensor.detach().contiguous().numpy().tobytes()

    def counted(self, tensor: Tensor | None) -> None:
        self.words(0 if tensor is None else tensor.numel())
        if tensor is not None:
            self.numbers(tensor)

    def block(self, block: steps.Block, row: int, kept: list[Tensor]) -> None:
        self.told += bytes(block)[: steps.Block.eps.offset] + struct.pack("<f", block.eps)
        self.words(row)
        self.weights(block, kept)

    def weights(self, kernel: Any, kept: list[Tensor]) -> None:
        known = {tensor.data_ptr(): tensor for tensor in kept}
        for name, kind in kernel._fields_:
            if kind is steps.NUMBERS:
                address = ctypes.cast(getattr(kernel, name), ctypes.c_void_p).value
                self.counted(known[address] if address else None)

    def learn(self, call: learning._Call, gradient: Tensor | None, sums: learning.Sums, output: Tensor) -> None:
        count, height, width, _ = call.plane.shape
        w, shift = call.block.window, call.block.shift
        self.words(3)
        self.block(call.spec, call.row, list(call._read.values()))
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


def whole(plane: Tensor) -> Tensor:
    """All numbers of the plane of which ``plane`` is a part."""
    return plane.as_strided((plane.untyped_storage().nbytes() // 4,), (1,), 0)

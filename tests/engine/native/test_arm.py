"""The kernels in C built for ARM and run in an emulator: what this machine computes, they compute there."""

from __future__ import annotations

import ctypes
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from swin2sr_ops.engine.block_runner import Box, Place
from swin2sr_ops.engine.native import build, kernels as steps
from swin2sr_ops.engine.tile_engine import TileEngine
from tests.conftest import NATIVE, random_net, small_spec
from tests.engine.test_tile_engine import run

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"

pytestmark = [
    NATIVE,
    pytest.mark.skipif(
        shutil.which(COMPILER) is None or shutil.which(EMULATOR) is None,
        reason="no compiler and emulator of ARM (Debian: apt install gcc-aarch64-linux-gnu qemu-user)",
    ),
]


class Calls:
    """Notes the kernels' calls in the words of ``arm.c``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told = bytearray()
        windows, end = steps.NativeSteps.windows, steps.NativeSteps.end

        def note_windows(
            mine: steps.NativeSteps, path: str, plane: Tensor, down: int, across: int, inside: Box
        ) -> None:
            block = mine._blocks[path]
            self.words(1)
            self.told += bytes(block)[: steps.Block.eps.offset] + struct.pack("<f", block.eps)
            self.words(mine._library.swin_row(ctypes.byref(block)))
            self.weights(mine, block)
            self.words(whole(plane).numel(), plane.storage_offset(), plane.stride(0), down, across)
            self.told += bytes(inside)
            self.numbers(whole(plane))
            windows(mine, path, plane, down, across, inside)
            self.numbers(whole(plane))

        def note_end(mine: steps.NativeSteps, path: str, place: Place, source: Tensor, target: Tensor) -> None:
            stage = mine._stages[path]
            self.words(2, stage.dim)
            self.told += struct.pack("<f", stage.eps)
            self.weights(mine, stage)
            self.words(whole(source).numel(), source.storage_offset(), source.stride(0), place.rows, place.columns)
            self.told += bytes(place.inside)
            self.numbers(whole(source), whole(target))
            end(mine, path, place, source, target)
            self.numbers(whole(target))

        monkeypatch.setattr(steps.NativeSteps, "windows", note_windows)
        monkeypatch.setattr(steps.NativeSteps, "end", note_end)

    def words(self, *numbers: int) -> None:
        self.told += struct.pack(f"<{len(numbers)}q", *numbers)

    def numbers(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            self.told += tensor.numpy().tobytes()

    def weights(self, mine: steps.NativeSteps, kernel: Any) -> None:
        known = {tensor.data_ptr(): tensor for tensor in mine._weights}
        for name, kind in kernel._fields_:
            if kind is steps.NUMBERS:
                address = ctypes.cast(getattr(kernel, name), ctypes.c_void_p).value
                self.words(known[address].numel() if address else 0)
                if address:
                    self.numbers(known[address])


def whole(plane: Tensor) -> Tensor:
    """All numbers of the plane of which ``plane`` is a part."""
    return plane.as_strided((plane.untyped_storage().nbytes() // 4,), (1,), 0)


def test_the_same_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    kinds = (("swin2sr", 8, 24, 2), ("swinir", 7, 20, 2), ("swin2sr", 5, 30, 3), ("swin2sr", 8, 60, 6))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for architecture, window, dim, heads in kinds:
            spec = small_spec(architecture=architecture, window=window, dim=dim, depths=(2,), heads=(heads,))
            run(TileEngine(random_net(spec), kernels="native"), torch.rand(1, 30, 21), (30, 21))
    finally:
        torch.set_num_threads(threads)
    calls.words(0)
    folder, program = Path(build.__file__).parent, tmp_path / "arm"
    sources = [Path(__file__).with_name("arm.c"), *(folder / name for name in build._SOURCES["tiles"])]
    flags = ["-Wall", "-Wextra", "-Werror", "-static"]
    subprocess.run([COMPILER, *build._FLAGS, *flags, *map(str, sources), "-lm", "-o", str(program)], check=True)
    done = subprocess.run([EMULATOR, str(program)], input=bytes(calls.told), capture_output=True, check=True)
    blocks, ends, apart = done.stdout.split()
    assert int(blocks) > 20
    assert int(ends) >= 2 * len(kinds)
    assert float(apart) < 1e-5


def test_training_compiles(tmp_path: Path) -> None:
    for name in build._SOURCES["training"]:
        words = [COMPILER, *build._FLAGS, "-Wall", "-Wextra", "-Werror", "-c", "-o", str(tmp_path / "learn.o")]
        subprocess.run([*words, str(Path(build.__file__).with_name(name))], check=True)

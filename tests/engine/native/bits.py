"""Hash the kernels' results for fixed numbers: equal on every machine and for every compiler.

Neither torch nor a random generator is used, so nothing depends on a version or a processor.
"""

from __future__ import annotations

import ctypes
import hashlib

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.engine.native import kernels as steps, learning
from swin2sr_ops.engine.native.kernels import Box

Numbers = NDArray[np.float32]

#: Dimensions, heads, window, hidden features, True for Swin2SR: rest rows, rest lanes, odd windows.
BLOCKS = ((60, 6, 8, 120, 1), (20, 2, 7, 40, 0), (28, 4, 5, 42, 1), (12, 2, 12, 24, 0))
#: Inputs, outputs, taps, factor, slope of a leaky ReLU.
CONVOLUTIONS = ((60, 64, 9, 1, 0.2), (3, 20, 9, 2, 1.0), (20, 27, 1, 1, 1.0), (24, 90, 4, 2, 0.01))
STAGES = ((60, True, False), (20, False, True), (28, True, True))  # dimensions, embedding, norm


def numbers(*shape: int, seed: int, size: float = 1.0, around: float = 0.0) -> Numbers:
    """Numbers without a pattern that are exact in float32 up to the last product and sum."""
    index = np.arange(np.prod(shape), dtype=np.uint64)
    mixed = (index * np.uint64(2654435761) + np.uint64(seed * 97 + 1)) * np.uint64(40503) % np.uint64(65536)
    return ((mixed.astype(np.float32) / 65536 - 0.5) * np.float32(size) + np.float32(around)).reshape(shape)


class Calls:
    """Calls into a library, and the hash of all that they gave."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        self.found = hashlib.sha256()
        self._kept: list[Numbers] = []

    def digest(self, *, training: bool = True) -> str:
        for i, (dim, heads, window, hidden, post) in enumerate(BLOCKS):
            block = self.block(dim, heads, window, hidden, post, seed=100 * i)
            self.windows(block)
            if training:
                self.learn(block)
        for i, (dim, embed, norm) in enumerate(STAGES):
            self.stage(dim, embed, norm, seed=100 * i)
        for i, (inputs, outputs, taps, factor, slope) in enumerate(CONVOLUTIONS):
            self.convolve(inputs, outputs, taps, factor, slope, seed=100 * i)
        self.norm_and_position()
        return self.found.hexdigest()[:16]

    def size(self, name: str, *args: object) -> int:
        function = getattr(self.library, name)
        function.restype = ctypes.c_ssize_t
        return int(function(*args))

    def kept(self, values: Numbers) -> ctypes.c_void_p:
        self._kept.append(values)
        return ctypes.c_void_p(values.ctypes.data)

    def pointer(self, values: Numbers) -> object:
        return ctypes.cast(self.kept(values), steps.NUMBERS)

    def block(self, dim: int, heads: int, window: int, hidden: int, post: int, seed: int) -> steps.Block:
        block = steps.Block(
            dim=dim, heads=heads, window=window, hidden=hidden, post_norm=post, cosine=post, eps=1e-5
        )  # fmt: skip
        pixels = window**2
        bias = np.zeros((heads, pixels, self.size("swin_row", ctypes.byref(block))), np.float32)
        bias[:, :, :pixels] = numbers(heads, pixels, pixels, seed=seed, size=4)
        block.bias = self.pointer(bias)
        block.scale = self.pointer(numbers(heads, seed=seed + 1, size=4, around=8 if post else 0.5))
        for k, (name, rows, columns) in enumerate(
            (("qkv", 3 * dim, dim), ("proj", dim, dim), ("fc1", hidden, dim), ("fc2", dim, hidden))
        ):
            whole = numbers(-(-rows // 6) * 6, columns, seed=seed + 2 + k, size=1.0)
            setattr(block, name, self.pointer(whole))
            setattr(block, f"{name}_bias", self.pointer(numbers(rows, seed=seed + 12 + k)))
        for k, name in enumerate(("norm1", "norm2")):
            setattr(block, name, self.pointer(numbers(dim, seed=seed + 22 + k, around=1)))
            setattr(block, f"{name}_bias", self.pointer(numbers(dim, seed=seed + 32 + k)))
        return block

    def windows(self, block: steps.Block) -> None:
        side = 2 * block.window
        plane = numbers(side, side, block.dim, seed=7, size=6)
        scratch = np.zeros(self.size("swin_scratch", ctypes.byref(block)), np.float32)
        inside = Box(1, side, 0, side - 2)
        self.library.swin_block(
            ctypes.byref(block), self.kept(plane), ctypes.c_ssize_t(side * block.dim), ctypes.c_ssize_t(2),
            ctypes.c_ssize_t(2), ctypes.byref(inside), self.kept(scratch),
        )  # fmt: skip
        self.found.update(plane.tobytes())

    def stage(self, dim: int, embed: bool, norm: bool, seed: int) -> None:
        rows = -(-dim // 6) * 6
        stage = steps.Stage(dim=dim, eps=1e-5)
        stage.conv = self.pointer(numbers(rows, 9, dim, seed=seed))
        stage.conv_bias = self.pointer(numbers(dim, seed=seed + 1))
        if embed:
            stage.embed, stage.embed_bias = (self.pointer(numbers(n, dim, seed=seed + 2)) for n in (rows, 1))
        if norm:
            stage.norm = self.pointer(numbers(dim, seed=seed + 3, around=1))
            stage.norm_bias = self.pointer(numbers(dim, seed=seed + 4))
        height, width = 6, 45
        source, target = (numbers(height, width, dim, seed=seed + 5 + k, size=4) for k in range(2))
        scratch = np.zeros(self.size("swin_stage_scratch", ctypes.byref(stage)), np.float32)
        stride, inside = ctypes.c_ssize_t(width * dim), Box(0, height, 0, width)
        self.library.swin_stage(
            ctypes.byref(stage), self.kept(source), stride, self.kept(target), stride, ctypes.c_ssize_t(height),
            ctypes.c_ssize_t(width), ctypes.byref(inside), self.kept(scratch),
        )  # fmt: skip
        self.found.update(target.tobytes())

    def convolve(self, inputs: int, outputs: int, taps: int, factor: int, slope: float, seed: int) -> None:
        phases, wide, height, width = factor**2, -(-outputs // 16) * 16, 7, 33
        offsets = np.array([(t // 3 - 1, t % 3 - 1) for t in range(taps)] * phases, np.intp) * (taps > 1)
        conv = steps.Convolution(inputs=inputs, outputs=outputs, taps=taps, factor=factor, slope=slope)
        conv.offsets = ctypes.cast(self.kept(offsets), ctypes.POINTER(steps.NUM))
        conv.weights = self.pointer(numbers(phases, taps, inputs, wide, seed=seed))
        conv.bias = self.pointer(numbers(phases, wide, seed=seed + 1))
        source = numbers(height + 2, width + 2, inputs, seed=seed + 2, size=4)
        target = np.zeros((height * factor, width * factor, outputs), np.float32)
        added = numbers(*target.shape, seed=seed + 3) if factor == 1 else None
        first, inside = source.ctypes.data + 4 * inputs * (width + 3), Box(1, height, 0, width - 2)
        plus = (None if added is None else self.kept(added), width * outputs)
        size = (height, width, ctypes.byref(inside))
        places = (ctypes.c_void_p(first), (width + 2) * inputs, *plus)
        self.call("swin_convolve", ctypes.byref(conv), *places, self.kept(target), width * factor * outputs, *size)
        self.found.update(target.tobytes())
        if taps > 1 or outputs % 9:
            return
        few = outputs // 9
        scratch, thin = (
            np.zeros(3 * ((width + 2) * outputs + 4), np.float32),
            np.zeros((height, width, few), np.float32),
        )
        bias = self.kept(numbers(few, seed=seed + 4))
        places = (ctypes.c_void_p(first), (width + 2) * inputs, None, 0, self.kept(thin), width * few)
        self.call("swin_thin", ctypes.byref(conv), few, bias, *places, *size, self.kept(scratch))
        self.found.update(thin.tobytes())

    def norm_and_position(self) -> None:
        gain, offset = numbers(60, seed=1, around=1), numbers(60, seed=2)
        plane, inside = numbers(5, 4, 60, seed=3, size=4), Box(0, 5, 1, 4)
        of = (60, ctypes.c_float(1e-5), self.kept(gain), self.kept(offset))
        self.call("swin_norm", *of, self.kept(plane), 240, self.kept(plane), 240, 5, 4, ctypes.byref(inside))
        self.found.update(plane.tobytes())
        places = numbers(2, 225, seed=4).astype(np.float64)
        layers = [numbers(64, 2, seed=5), numbers(64, seed=6), numbers(3, 64, seed=7)]
        found, scratch = np.zeros((3, 225)), np.zeros(225)
        self.call("swin_position", 225, 64, 3, *map(self.kept, (places, *layers, found, scratch)))
        self.found.update(found.tobytes())
        image, enlarged = numbers(6, 7, 3, seed=8), np.zeros((8, 12, 3), np.float32)
        with_, room = self.kept(numbers(4, 5, seed=9)), np.zeros((12, 3), np.float32)
        inside = Box(0, 5, 0, 6)
        self.call(
            "swin_bicubic", with_, 4, 3, self.kept(image), 21, self.kept(enlarged), 36, 2, 1, 8, 12,
            ctypes.byref(inside), self.kept(room),
        )  # fmt: skip
        finished = np.zeros((3, 16, 8), np.float32)
        wide = numbers(8, 4, 12, seed=10)
        of = (ctypes.c_float(255), self.kept(numbers(3, seed=11)))
        self.call("swin_finish", self.kept(wide), 48, 8, 4, 3, 2, *of, self.kept(finished), 8, 128)
        self.found.update(enlarged.tobytes() + finished.tobytes())

    def call(self, name: str, *args: object) -> None:
        getattr(self.library, name)(*(ctypes.c_ssize_t(a) if isinstance(a, int) else a for a in args))

    def learn(self, block: steps.Block) -> None:
        """Result and all gradients of two windows."""
        dim, hidden, window, pixels = block.dim, block.hidden, block.window, block.window**2
        sums, row = self.size("swin_learn_sums"), self.size("swin_learn_bias_row", ctypes.byref(block))
        gradients: dict[str, Numbers] = {"bias": np.zeros((block.heads, pixels, row), np.float32)}
        shown = {"bias": pixels}
        for name, rows, columns in (
            ("qkv", 3 * dim, dim),
            ("proj", dim, dim),
            ("fc1", hidden, dim),
            ("fc2", dim, hidden),
        ):
            wide = self.size("swin_learn_row", ctypes.c_ssize_t(columns))
            gradients[name], shown[name] = np.zeros((rows, wide), np.float32), columns
            gradients[f"{name}_bias"] = np.zeros((rows, sums), np.float32)
        gradients["scale"] = np.zeros((block.heads, sums), np.float32)
        for name in ("norm1", "norm1_bias", "norm2", "norm2_bias"):
            gradients[name] = np.zeros((dim, sums), np.float32)
        plane, gradient = (numbers(window, 2 * window, dim, seed=seed, size=6) for seed in (8, 9))
        scratch = np.zeros(self.size("swin_learn_scratch", ctypes.byref(block)), np.float32)
        to = learning._Gradients(**{name: values.ctypes.data for name, values in gradients.items()})
        for by in (None, gradient):
            output = np.zeros_like(plane)
            planes = learning._Planes(
                down=1, across=2, input=plane.ctypes.data, output=output.ctypes.data,
                gradient=None if by is None else by.ctypes.data,
            )  # fmt: skip
            self.library.swin_learn(
                ctypes.byref(block), ctypes.byref(planes), ctypes.c_ssize_t(0), ctypes.c_ssize_t(2), ctypes.byref(to),
                self.kept(scratch),
            )  # fmt: skip
            self.found.update(output.tobytes())
        for name, values in gradients.items():
            self.found.update(values[..., : shown.get(name)].tobytes())

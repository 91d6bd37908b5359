"""The kernels in C as Python sees them: their structures, and their functions with the types of what they take."""

from __future__ import annotations

import ctypes
from typing import Any

from swin2sr_ops.engine.native.build import library

__all__ = ["NUM", "NUMBERS", "Block", "Box", "Convolution", "Stage", "fields", "kernels"]

NUMBERS = ctypes.POINTER(ctypes.c_float)
#: ``num`` of products.h.
NUM = ctypes.c_ssize_t


def fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    """List the fields ``names`` of a structure, all of one kind."""
    return [(name, kind) for name in names.split()]


class Box(ctypes.Structure):
    """Rows and columns, from the first to behind the last."""

    _fields_ = fields(NUM, "top bottom left right")
    top: int
    bottom: int
    left: int
    right: int


class Block(ctypes.Structure):
    """``Block`` of window.h."""

    _fields_ = [
        *fields(NUM, "dim heads window hidden post_norm cosine"),
        ("eps", ctypes.c_float),
        *fields(NUMBERS, "qkv qkv_bias scale bias proj proj_bias norm1 norm1_bias"),
        *fields(NUMBERS, "fc1 fc1_bias fc2 fc2_bias norm2 norm2_bias"),
    ]


class Stage(ctypes.Structure):
    """``Stage`` of stage.c."""

    _fields_ = [
        *fields(NUM, "dim"),
        ("eps", ctypes.c_float),
        *fields(NUMBERS, "conv conv_bias embed embed_bias norm norm_bias"),
    ]


class Convolution(ctypes.Structure):
    """``Convolution`` of conv.c."""

    _fields_ = [
        *fields(NUM, "inputs outputs taps factor"),
        ("slope", ctypes.c_float),
        ("offsets", ctypes.POINTER(NUM)),
        *fields(NUMBERS, "weights bias"),
    ]
    inputs: int
    outputs: int
    taps: int
    factor: int


_ADDRESS, _FLOAT = ctypes.c_void_p, ctypes.c_float
_PLANE = (_ADDRESS, NUM)  # first number, and numbers from a row to the next
_SIZE = (NUM, NUM, ctypes.POINTER(Box))  # rows, columns, and the image's, counted from there
_TAKES: dict[str, tuple[Any, ...]] = {
    "swin_block": (ctypes.POINTER(Block), *_PLANE, *_SIZE, _ADDRESS),
    "swin_stage": (ctypes.POINTER(Stage), *_PLANE, *_PLANE, *_SIZE, _ADDRESS),
    "swin_convolve": (ctypes.POINTER(Convolution), *_PLANE, *_PLANE, *_PLANE, *_SIZE),
    "swin_thin": (ctypes.POINTER(Convolution), NUM, _ADDRESS, *_PLANE, *_PLANE, *_PLANE, *_SIZE, _ADDRESS),
    "swin_norm": (NUM, _FLOAT, _ADDRESS, _ADDRESS, *_PLANE, *_PLANE, *_SIZE),
    "swin_finish": (*_PLANE, *[NUM] * 4, _FLOAT, _ADDRESS, *_PLANE, NUM),
    "swin_bicubic": (_ADDRESS, NUM, NUM, *_PLANE, *_PLANE, NUM, NUM, *_SIZE, _ADDRESS),
    "swin_position": (*[NUM] * 3, *[_ADDRESS] * 6),
}
_GIVES: dict[str, tuple[Any, ...]] = {
    "swin_scratch": (ctypes.POINTER(Block),),
    "swin_row": (ctypes.POINTER(Block),),
    "swin_stage_scratch": (ctypes.POINTER(Stage),),
}


def kernels() -> ctypes.CDLL:
    """Load the kernels that a tile needs; they are built if they never were.

    Raises
    ------
    RequestError
        If there is no compiler, or it fails.
    """
    found = library()
    for names, result in ((_TAKES, None), (_GIVES, NUM)):
        for name, takes in names.items():
            function = getattr(found, name)
            function.argtypes, function.restype = takes, result
    return found

"""float32 that is float32: on NVIDIA's GPUs torch lets convolutions compute with 10 bits of it (TF32), unless told."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["full_float32"]

_lock = threading.Lock()
_users = 0
_before: list[Any] = []


@contextmanager
def full_float32() -> Iterator[None]:
    """Let torch's products and convolutions of float32 numbers be computed in float32.

    The settings are the process's. They are put back when the last user leaves.
    """
    global _users, _before  # noqa: PLW0603  (torch's own settings are global; this counts who relies on them)
    with _lock:
        if _users == 0:
            _before = _read()
            _write([False] * len(_before) if _legacy() else ["ieee"] * len(_before))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _write(_before)


def _legacy() -> bool:
    """Before torch 2.9."""
    return not hasattr(torch.backends.cudnn, "conv")


def _places() -> list[tuple[Any, str]]:
    backends: Any = torch.backends
    if _legacy():
        return [(backends.cudnn, "allow_tf32"), (backends.cuda.matmul, "allow_tf32")]
    # Convolutions and recurrent networks together: torch's older setting, which others may read, stands for both.
    return [(part, "fp32_precision") for part in (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul)]


def _read() -> list[Any]:
    return [getattr(part, name) for part, name in _places()]


def _write(values: list[Any]) -> None:
    for (part, name), value in zip(_places(), values, strict=True):
        setattr(part, name, value)

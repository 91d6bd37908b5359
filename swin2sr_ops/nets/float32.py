"""float32 that is float32: on NVIDIA's GPUs torch lets convolutions compute with 10 bits of it (TF32), unless told."""

from __future__ import annotations

from typing import Any

import torch

from swin2sr_ops.nets.workers import Held

__all__ = ["full_float32"]

_backends: Any = torch.backends
if hasattr(_backends.cudnn, "conv"):
    # Convolutions and recurrent networks together: torch's older setting, which others may read, stands for both.
    _parts = (_backends.cudnn.conv, _backends.cudnn.rnn, _backends.cuda.matmul)
    _name, _wanted = "fp32_precision", "ieee"
else:  # torch before 2.9
    _parts, _name, _wanted = (_backends.cudnn, _backends.cuda.matmul), "allow_tf32", False  # type: ignore[assignment]


def _read() -> list[Any]:
    return [getattr(part, _name) for part in _parts]


def _write(values: list[Any]) -> None:
    for part, value in zip(_parts, values, strict=True):
        setattr(part, _name, value)


#: Let torch's products and convolutions of float32 numbers be computed in float32.
full_float32 = Held(_read, _write, [_wanted] * len(_parts))

"""Control the precision of float32 on NVIDIA GPUs: by default torch computes convolutions with 10 bits (TF32).

Requested float32 is full float32. Around stages in bfloat16, which has 7 bits, TF32 is precise enough
(docs/engines.md), and it uses tensor cores.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from swin2sr_ops.engine.threads import Held

__all__ = ["full_float32", "short_float32"]

_backends: Any = torch.backends
if hasattr(_backends.cudnn, "conv"):
    # Set convolutions and recurrent networks together: torch's older setting, which others may read, covers both.
    _parts = (_backends.cudnn.conv, _backends.cudnn.rnn, _backends.cuda.matmul)
    _name, _full, _short = "fp32_precision", "ieee", "tf32"
else:  # torch before 2.9
    _parts = (_backends.cudnn, _backends.cuda.matmul)  # type: ignore[assignment]
    _name, _full, _short = "allow_tf32", False, True  # type: ignore[assignment]


def _read() -> list[Any]:
    return [getattr(part, _name) for part in _parts]


def _write(values: list[Any]) -> None:
    for part, value in zip(_parts, values, strict=True):
        setattr(part, _name, value)


_precision = Held(_read, _write)
#: Compute torch's products and convolutions of float32 numbers in full float32.
full_float32 = partial(_precision, [_full] * len(_parts))
#: Compute them with 10 bits. The two exclude each other: a result must not depend on what else is running.
short_float32 = partial(_precision, [_short] * len(_parts))

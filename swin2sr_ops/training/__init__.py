"""Train and fine-tune Swin2SR and SwinIR; ``swin2sr-ops train`` on the command line.

A run consists of a `Recipe` (a small TOML file; those of the shipped models are in ``recipes/``), a folder of
images and a folder for its state. The same call resumes a killed run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from swin2sr_ops.training.recipe import Recipe

if TYPE_CHECKING:
    from swin2sr_ops.training.api import train

__all__ = ["Recipe", "train"]


def __getattr__(name: str) -> Any:
    if name == "train":  # loads torch
        from swin2sr_ops.training.api import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

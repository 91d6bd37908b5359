"""A checkpoint that spandrel reads, as a plain module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import spandrel
from torch import Tensor, nn

from swin2sr_ops import CheckpointError, ModelError
from swin2sr_ops.hosting import file_sha256, pad_by_reflection, read_tensors

__all__ = ["Network", "Unknown", "read"]


class Unknown(Exception):
    """Spandrel knows no architecture with such parameters."""


def read(path: Path, sha256: str = "") -> Any:
    """Spandrel's descriptor of a checkpoint. Nothing is ever unpickled.

    Parameters
    ----------
    path : Path
    sha256 : str
        Of the file that was described, where there was one.

    Raises
    ------
    CheckpointError
        If it is missing, damaged, or another file than ``sha256`` says.
    Unknown
        If spandrel does not know it.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}: put it back, or resolve the model again.")
    if sha256 and file_sha256(path) != sha256:
        raise CheckpointError(
            f"{path} is not the file that was described: its SHA-256 begins with {file_sha256(path)[:12]} instead of "
            f"{sha256[:12]}. Put that file back, or resolve the model again."
        )
    # Half-precision files hold rounded weights, not other arithmetic.
    state = {k: v.float() if v.is_floating_point() else v for k, v in read_tensors(path).items()}
    try:
        return spandrel.MAIN_REGISTRY.load(state)
    except spandrel.UnsupportedModelError as exc:
        raise Unknown from exc
    except Exception as exc:  # foreign code may raise anything for parameters that only look right
        raise ModelError(
            f"{path.name} looks like a network that spandrel knows, but cannot be loaded: "
            f"{type(exc).__name__}: {' '.join(str(exc).split())[:300]}"
        ) from exc


class Network(nn.Module):
    """Call a descriptor without its clipping to 0..1: ``(1, C, H, W)`` of any size."""

    def __init__(self, descriptor: Any) -> None:
        super().__init__()
        self.model: nn.Module = descriptor.model.eval().requires_grad_(False)
        self.sizes, self.scale = descriptor.size_requirements, int(descriptor.scale)
        #: Some networks give more than the image, or take more. Spandrel's own call would clip, too.
        self.call = getattr(descriptor, "_call_fn", lambda model, image: model(image))

    def forward(self, x: Tensor) -> Tensor:
        """Restore one image; padded by reflection to what the network takes, as spandrel does it."""
        height, width = x.shape[-2:]
        found: Tensor = self.call(self.model, pad_by_reflection(x, *self.sizes.get_padding(width, height)))
        return found[..., : height * self.scale, : width * self.scale]

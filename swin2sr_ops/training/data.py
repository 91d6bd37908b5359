"""Training patches: drawn from a folder of clean images, a function of seed and step alone.

Because step n's batch depends on nothing but ``(seed, n)``, a run that was killed goes on with the
very patches that it would have seen.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from swin2sr_ops.errors import FormatError, RequestError
from swin2sr_ops.training.recipe import Recipe

__all__ = ["PatchSampler", "bicubic_reduce", "find_images", "load_image"]

_SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"}
_MARGIN = 4  # input pixels around a patch while it is reduced: the kernel then sees real neighbours


def find_images(folder: Path) -> list[Path]:
    """All images below ``folder``, in a stable order."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)


def load_image(path: Path, channels: int) -> NDArray[np.float32] | None:
    """Read an image as ``(channels, H, W)`` in 0..1, or None if it has too few channels.

    8-bit images keep their range; others are mapped from their smallest to their largest value,
    as ``range="auto"`` does when a model is used. A colour image gives one channel by its luma.
    """
    try:
        pixels = _decode(path)
    except (OSError, ValueError, SyntaxError, struct.error) as exc:  # what tifffile and Pillow raise on a damaged file
        raise FormatError(f"{path} cannot be read as an image ({exc}): remove it from the training images.") from exc
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[-1] not in (3, 4)):
        raise FormatError(f"{path} has shape {pixels.shape}; training takes YX or YXC images of 1, 3 or 4 channels.")
    lo, hi = (0.0, 255.0) if pixels.dtype == np.uint8 else (float(pixels.min()), float(pixels.max()))
    x = (pixels.astype(np.float32) - lo) / max(hi - lo, 1e-6)
    if channels == 1:
        x = x[..., :3] @ np.array([0.299, 0.587, 0.114], np.float32) if x.ndim == 3 else x
        return x[None]
    return None if x.ndim == 2 else np.ascontiguousarray(x[..., :3].transpose(2, 0, 1))


def _decode(path: Path) -> NDArray[Any]:
    if path.suffix.lower() in (".tif", ".tiff"):
        import tifffile

        return np.asarray(tifffile.imread(path))
    with Image.open(path) as picture:
        palette = picture.mode in ("P", "CMYK", "LA", "PA")
        return np.asarray(picture.convert("RGB") if palette else picture)


def bicubic_reduce(x: Tensor, scale: int) -> Tensor:
    """Reduce ``(B, C, H, W)`` by ``scale``: bicubic with antialiasing (A = -0.5), as MATLAB's ``imresize``.

    MATLAB mirrors the image at its border and torch renormalises the kernel there, so the outer
    two pixels differ slightly; inside, the numbers agree.
    """
    if scale == 1:
        return x
    size = (x.shape[-2] // scale, x.shape[-1] // scale)
    return F.interpolate(x, size=size, mode="bicubic", antialias=True, align_corners=False)


class PatchSampler:
    """Batches of (input, target) patches for a recipe.

    Parameters
    ----------
    recipe : Recipe
        Folders, patch size, scale, seed.
    data : path
        The folder that holds the recipe's folders.

    Raises
    ------
    RequestError
        If a folder has no image that is large enough and has the model's channels.
    """

    def __init__(self, recipe: Recipe, data: Path) -> None:
        self.recipe = recipe
        self.spec = recipe.spec
        self.side = (recipe.patch + 2 * _MARGIN) * self.spec.scale
        self.images: list[list[NDArray[np.float16]]] = []
        for name in recipe.folders:
            found = self._load(find_images(data / name))
            if not found:
                raise RequestError(
                    f"{data / name} holds no image of at least {self.side} x {self.side} px with "
                    f"{self.spec.channels} channel(s) to train {self.spec.name!r} on."
                )
            self.images.append(found)
        weights = np.array(list(recipe.folders.values()), dtype=float)
        self.weights = weights / weights.sum()

    def _load(self, paths: Sequence[Path]) -> list[NDArray[np.float16]]:
        # float16 halves the memory; its step near 1 (2**-11) is below half an 8-bit level.
        loaded = (load_image(p, self.spec.channels) for p in paths)
        return [x.astype(np.float16) for x in loaded if x is not None and min(x.shape[1:]) >= self.side]

    def __len__(self) -> int:
        return sum(map(len, self.images))

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Input ``(B, C, p, p)`` and target ``(B, C, p scale, p scale)`` of one step, in 0..1."""
        rng = np.random.default_rng((self.recipe.seed, step))
        target = torch.from_numpy(np.stack([self._patch(rng) for _ in range(self.recipe.batch)]))
        source = bicubic_reduce(target, self.spec.scale)
        if self.recipe.levels:
            top = self.recipe.levels - 1
            source = (source.clamp(0, 1) * top).round() / top
        m = _MARGIN
        outer = m * self.spec.scale
        return source[..., m:-m, m:-m], target[..., outer:-outer, outer:-outer]

    def _patch(self, rng: np.random.Generator) -> NDArray[np.float32]:
        folder = self.images[rng.choice(len(self.images), p=self.weights)]
        image = folder[rng.integers(len(folder))]
        y, x = (rng.integers(n - self.side + 1) for n in image.shape[1:])
        patch = image[:, y : y + self.side, x : x + self.side].astype(np.float32)
        patch = np.rot90(patch, int(rng.integers(4)), (1, 2))
        patch = patch[:, ::-1] if rng.integers(2) else patch
        c = self.recipe.contrast
        if c and rng.random() < 0.5:
            gain = 1 - c * rng.random()
            patch = patch * gain + (1 - gain) * rng.random()
        return np.ascontiguousarray(patch, dtype=np.float32)

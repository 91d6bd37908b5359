"""Draw training patches from folders of images, as a function of seed and step only.

Step n's batch depends only on ``(seed, n)``, so a resumed run sees the same patches as an
undisturbed one.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from swin2sr_ops.errors import RequestError
from swin2sr_ops.training.camera import CAMERA_MARGIN, Camera
from swin2sr_ops.training.degrade import Degrade, bicubic_reduce, bicubic_resize
from swin2sr_ops.training.images import Pair, find_images, load_images, load_pairs
from swin2sr_ops.training.planes import digest_of
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.training.teacher import TAUGHT_PEAK, Teacher, TeacherOutput
from swin2sr_ops.training.volumes import MadeVolume, planes_of, stacks

__all__ = ["PatchSampler", "detail", "training_images"]

_MARGIN = 4  # input pixels around a patch during its reduction: the kernel then sees real neighbours
_WIDE_MARGIN = 8  # the same for blur, and for a JPEG grid that starts anywhere
_TRIES = 100  # to degrade a held-out patch

Kept = tuple[NDArray[np.float16] | None, NDArray[np.float16]]
Patches = list[NDArray[np.float32]]


def training_images(recipe: Recipe, folder: Path, side: int) -> list[Pair]:
    """Load the images or pairs of a folder whose target is at least ``side`` pixels high and wide.

    Raises
    ------
    RequestError
        If there are none.
    """
    spec = recipe.spec
    found: list[Pair]
    if spec.planes > 1:
        found = stacks(folder, spec, paired=recipe.paired, made=bool(recipe.volume))
    elif recipe.paired:
        found = load_pairs(folder, spec.channels, spec.scale)
    else:
        found = [(None, plane) for path in find_images(folder) for plane in load_images(path, spec.channels)]
    found = [(a, b) for a, b in found if min(b.shape[1:]) >= side]
    if not found:
        kind, remedy = "pair" if recipe.paired else "image", ""
        if spec.planes > 1:
            kind += f" of several planes along {spec.along or 'T, Z or another axis'}"
            remedy = "" if recipe.paired else " A recipe's [volume] makes planes of single images."
        raise RequestError(
            f"{folder} contains no {kind} of at least {side} x {side} px with "
            f"{spec.channels} channel(s) to train {spec.name!r} on.{remedy}"
        )
    return found


class PatchSampler:
    """Draw batches of (input, target) patches for a recipe.

    Parameters
    ----------
    recipe : Recipe
        Folders, patch size, scale, seed, degradations.
    data : path
        Folder that contains the recipe's folders.

    Raises
    ------
    RequestError
        If a folder has no image that is large enough and has the model's channels.
    """

    def __init__(self, recipe: Recipe, data: Path) -> None:
        self.recipe = recipe
        self.spec = recipe.spec
        self.degrade = Degrade(recipe.degrade, self.spec.scale) if recipe.degrade else None
        self.camera = Camera(recipe.camera, planes=self.spec.planes > 1) if recipe.camera else None
        self.volume = MadeVolume(recipe.volume)
        self.margin = 0 if recipe.paired else _MARGIN if self.degrade is None else _WIDE_MARGIN
        self.margin = self.margin if self.camera is None else CAMERA_MARGIN
        # Reflected pixels that planes made by a shift bring in must stay outside the patch.
        self.margin = max(self.margin, -(-self.volume.reach(self.spec.planes) // self.spec.scale))
        self.side = (recipe.patch + 2 * self.margin) * self.spec.scale
        self.images: list[list[Kept]] = []
        #: The teacher's outputs for the images, in the same order; see `teach`.
        self.taught: list[list[TeacherOutput]] = []
        for name in recipe.folders:
            # float16 halves the memory; its step near 1 (2**-11) is below half an 8-bit level.
            pairs = training_images(recipe, data / name, self.side)
            self.images.append([(None if a is None else a.astype(np.float16), b.astype(np.float16)) for a, b in pairs])
        weights = np.array(list(recipe.folders.values()), dtype=float)
        self.weights = weights / weights.sum()

    def __len__(self) -> int:
        return sum(map(len, self.images))

    def digest(self) -> str:
        """Compute a digest of the images."""
        return digest_of(image for folder in self.images for kept in folder for image in kept)

    def teach(self, teacher: Teacher, log: Callable[[str], None], rank: int = 0, size: int = 1) -> None:
        """Give every image the output of a teacher; later batches then have it as a third tensor.

        ``rank`` and ``size`` are those of this process in its team.
        """
        images = [kept for folder in self.images for kept in folder]
        found = iter(teacher.outputs(images, log, rank=rank, size=size))
        self.taught = [list(islice(found, len(folder))) for folder in self.images]

    def batch(self, step: int) -> tuple[Tensor, ...]:
        """Return input ``(B, C, p, p)`` and target ``(B, C, p scale, p scale)`` of one step, in 0..1.

        With a teacher also its output, in the target's shape.
        The input of a model of several planes is ``(B, planes, p, p)``, the target the plane that comes first.
        """
        rng = np.random.default_rng((self.recipe.seed, step))
        patches = [self._patch(rng) for _ in range(self.recipe.batch)]
        target, *others = (torch.from_numpy(np.stack(kind)) for kind in zip(*patches, strict=True))
        if self.recipe.paired:
            given, *taught = others
            return given, self._own(target), *taught
        return *self._made(target, rng), *map(self._without_margin, others)

    def held_out(self, pairs: list[Pair], patch: int) -> list[tuple[Tensor, Tensor]]:
        """Return input ``(1, C, p, p)`` and target of each image's centre, at most ``patch`` pixels wide."""
        s, m, found = self.spec.scale, self.margin, []
        for number, pair in enumerate(pairs):
            chosen = np.random.default_rng((self.recipe.seed, 2**41 + number))
            given, target = self._with_neighbours(*pair, chosen, middle=True)
            sides = [min(patch, n // s - 2 * m) for n in target.shape[1:]]
            first = [(n // s - p) // 2 - m for n, p in zip(target.shape[1:], sides, strict=True)]
            inner = [slice(a, a + p + 2 * m) for a, p in zip(first, sides, strict=True)]
            outer = [slice(a.start * s, a.stop * s) for a in inner]
            wanted = torch.from_numpy(np.ascontiguousarray(target[:, outer[0], outer[1]]))[None]
            if given is not None:
                shown = torch.from_numpy(np.ascontiguousarray(given[:, inner[0], inner[1]]))[None]
                found.append((shown, self._own(wanted)))
            else:
                found.append(self._changed(wanted, np.random.default_rng((self.recipe.seed, 2**40 + number))))
        return found

    def _changed(self, target: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Degrade a patch anew while the recipe's shares leave it as it is: it would show nothing."""
        made = self._made(target, rng)
        for _ in range(_TRIES):
            if not torch.equal(*made):
                break
            made = self._made(target, rng)
        return made

    def _made(self, target: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Degrade clean patches to inputs; return inputs and targets without their margin."""
        if self.degrade is None and self.camera is None:
            source = bicubic_reduce(target, self.spec.scale)
        else:
            made = [self._degraded(patch, rng) for patch in target.numpy()]
            source, target = (torch.from_numpy(np.stack(patches)) for patches in zip(*made, strict=True))
        if self.recipe.levels:
            top = self.recipe.levels - 1
            source = (source.clamp(0, 1) * top).round() / top
        m = self.margin
        return source[..., m:-m, m:-m], self._without_margin(self._own(target))

    def _without_margin(self, target: Tensor) -> Tensor:
        outer = self.margin * self.spec.scale
        return target[..., outer:-outer, outer:-outer]

    def _own(self, target: Tensor) -> Tensor:
        """Return the target without the planes beside it."""
        return target if self.spec.planes == 1 else target[:, :1]

    def _with_neighbours(
        self,
        given: NDArray[Any] | None,
        target: NDArray[Any],
        rng: np.random.Generator,
        *,
        middle: bool = False,
        other: NDArray[Any] | None = None,
    ) -> tuple[NDArray[Any] | None, NDArray[Any]]:
        """Choose a plane of a stack, at random or the ``middle`` one, and return it with its neighbours.

        Those of a picture are made, of the content of ``other``, too: by default its own, turned by half.
        """
        planes = self.spec.planes
        if self._is_picture(target):
            return None, self.volume.apply(target, planes, rng, target[:, ::-1, ::-1] if other is None else other)
        if planes == 1:
            return given, target
        number = len(target) // 2 if middle else int(rng.integers(len(target)))
        return None if given is None else planes_of(given, number, planes), planes_of(target, number, planes)

    def _is_picture(self, target: NDArray[Any]) -> bool:
        """Return True for an image of one plane whose neighbours are to be made."""
        return len(target) == 1 and bool(self.recipe.volume)

    def _degraded(
        self, patch: NDArray[np.float32], rng: np.random.Generator
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the input and the target for one clean patch: a camera changes both."""
        if self.camera is not None and self.camera.takes(rng):
            return self.camera.apply(patch, rng)
        return (patch if self.degrade is None else self.degrade.apply(patch, rng)), patch

    def _patch(self, rng: np.random.Generator) -> Patches:
        """Cut out, rotate and change the contrast of a target, its input (of pairs) and the teacher's output."""
        folder = int(rng.choice(len(self.images), p=self.weights))
        smaller = self.recipe.shrink > 1 and rng.random() < 0.5
        factor = rng.uniform(1, self.recipe.shrink) if smaller else 1.0
        cuts = (self._cut(folder, rng, factor) for _ in range(self.recipe.detail))
        cut = max(cuts, key=self._worth)
        turns, mirrored = int(rng.integers(4)), rng.integers(2)
        cut = [np.rot90(patch, turns, (1, 2)) for patch in cut]
        cut = [patch[:, ::-1] for patch in cut] if mirrored else cut
        c = self.recipe.contrast
        if c and rng.random() < 0.5:
            gain = 1 - c * rng.random()
            offset = (1 - gain) * rng.random()
            cut = [patch * gain + offset for patch in cut]
        return [np.ascontiguousarray(patch, dtype=np.float32) for patch in cut]

    def _worth(self, cut: Patches) -> float:
        """Compute how much a patch can teach."""
        if self.recipe.detail_of == "image":
            return detail(cut[0])
        target, *others = (torch.from_numpy(patch)[None] for patch in cut)
        source = others[0] if self.recipe.paired else bicubic_reduce(target, self.spec.scale)
        enlarged = F.interpolate(source, size=target.shape[-2:], mode="bicubic", align_corners=False)
        return float(((others[-1] - enlarged) ** 2).mean())

    def _cut(self, folder: int, rng: np.random.Generator, factor: float) -> Patches:
        """Cut a target out of one image, ``factor`` times reduced, its input if given, the teacher's output if any."""
        number = int(rng.integers(len(self.images[folder])))
        given, target = self.images[folder][number]
        picture = self._is_picture(target)
        if not picture:
            given, target = self._with_neighbours(given, target, rng)
        if factor > 1:
            small = self._shrunk(target, rng, factor).astype(np.float32)
            cut = [small, small] if self.taught else [small]  # the teacher did not see it: it is its own target
        else:
            cut = self._window(given, target, self.taught[folder][number] if self.taught else None, rng)
        if not picture:
            return cut
        # The neighbours of a picture are made of the patch, and of another one.
        other = self._elsewhere(folder, rng, factor) if self.volume.mixes else None
        return [self._with_neighbours(None, cut[0], rng, other=other)[1].astype(np.float32)]

    def _elsewhere(self, folder: int, rng: np.random.Generator, factor: float) -> NDArray[Any]:
        """Cut a single plane at another place, mostly of another image."""
        _, target = self.images[folder][int(rng.integers(len(self.images[folder])))]
        plane = target[int(rng.integers(len(target)))][None]
        return self._shrunk(plane, rng, factor) if factor > 1 else self._window(None, plane, None, rng)[0]

    def _window(
        self,
        given: NDArray[np.float16] | None,
        target: NDArray[np.float16],
        taught: TeacherOutput | None,
        rng: np.random.Generator,
    ) -> Patches:
        """Cut a window out of a target, and the same out of its input and of the teacher's output."""
        # Cut pairs and the teacher's outputs at whole pixels of the input.
        s = self.spec.scale if given is not None or self.taught else 1
        side = self.side // s
        y, x = (int(rng.integers(n // s - side + 1)) for n in target.shape[1:])
        outer = np.s_[:, y * s : (y + side) * s, x * s : (x + side) * s]
        cut = [target[outer].astype(np.float32)]
        if given is not None:
            cut.append(given[:, y : y + side, x : x + side].astype(np.float32))
        if taught is not None:
            cut.append(taught[outer].astype(np.float32) / np.float32(TAUGHT_PEAK))
        return cut

    def _shrunk(self, target: NDArray[np.float16], rng: np.random.Generator, factor: float) -> NDArray[np.float16]:
        """Cut a target from the image reduced by ``factor``, or by as much as leaves room for a target.

        The result is clipped to 0..1 like stored images: bicubic kernels overshoot at edges.
        """
        wide = min(int(self.side * factor), *target.shape[1:])
        y, x = (int(rng.integers(n - wide + 1)) for n in target.shape[1:])
        part = torch.from_numpy(target[None, :, y : y + wide, x : x + wide].astype(np.float32))
        return bicubic_resize(part, (self.side, self.side))[0].clamp(0, 1).numpy().astype(np.float16)


def detail(patch: NDArray[np.floating[Any]]) -> float:
    """Compute the mean square of what a patch ``(C, H, W)`` loses if each 2 x 2 pixels become their mean.

    Sky and out-of-focus regions have no detail: a network learns nothing about fine structure there.
    """
    c, h, w = (patch.shape[0], *(n // 2 for n in patch.shape[1:]))
    pixels = patch[:, : 2 * h, : 2 * w].astype(np.float32).reshape(c, h, 2, w, 2)
    return float(((pixels - pixels.mean((2, 4), keepdims=True)) ** 2).mean())

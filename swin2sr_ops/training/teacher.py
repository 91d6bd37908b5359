"""Compute the outputs of a larger model for all training images, once: a second target for a small one.

The idea is that of Hinton et al., "Distilling the Knowledge in a Neural Network" (2015). The teacher sees whole images,
reduced and rounded as the training's patches are, through the exact engine: its outputs have no seams. They are stored
as 16 bits beside the run, in a folder named by the teacher's hash, under the hash of image and settings: runs of one
parent folder share them, and a killed run computes only what is missing. Each file ends with the SHA-256 of all bytes
before it (`numpy.load` ignores what follows the array); a damaged file counts as missing. A patch reads its part of an
output and closes the file again, since there may be more images than a process may hold open files.

A patch and its output are turned and mirrored together. A network is not exactly equivariant, so the output of a turned
patch would differ a little; the mean of all eight orientations (``ensemble = 8``) is equivariant, and better.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.io.storage.moves import remove_path, replacing
from swin2sr_ops.lazy.restore import restore
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.training.degrade import bicubic_reduce
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.weights.qualities import is_quality, views_of

__all__ = ["TAUGHT_PEAK", "Teacher", "TeacherOutput", "with_teacher"]

#: The stored number that stands for 1.0; an output below 0 or above 1 is clipped, as in a stored image.
TAUGHT_PEAK = 65535
_REPORT_EVERY = 30.0  # seconds
_DIGEST = hashlib.sha256().digest_size
#: Age in seconds of an unfinished file that a killed process left: writing one takes a few seconds.
_ABANDONED = 3600.0

Image = NDArray[np.float16]


@dataclass(frozen=True)
class TeacherOutput:
    """The output of a teacher for one image, ``(C, H scale, W scale)``, in a file."""

    file: Path

    def __getitem__(self, window: Any) -> NDArray[np.uint16]:
        """Read a window; the file is open only meanwhile."""
        part: NDArray[np.uint16] = np.array(np.load(self.file, mmap_mode="r")[window])
        return part


@dataclass(frozen=True)
class Teacher:
    """Give the outputs of a model for training images.

    Parameters
    ----------
    spec : ModelSpec
        The teacher.
    ensemble : int
        1, or 8 for the mean of all orientations.
    levels : int
        To so many levels inputs are rounded; 0: not at all.
    folder : path
        Where outputs are stored.
    device : str
        Device of the computation.
    """

    spec: ModelSpec
    ensemble: int
    levels: int
    folder: Path
    device: str = "auto"

    def outputs(
        self,
        images: Sequence[tuple[Image | None, Image]],
        log: Callable[[str], None] = print,
        *,
        rank: int = 0,
        size: int = 1,
    ) -> list[TeacherOutput]:
        """Return the outputs for inputs, or for targets whose inputs are made here.

        Each of the ``size`` processes of a team, known by its ``rank``, computes its own share first and then what the
        others still lack. Files that are damaged, or have no digest as in earlier versions, are computed again.
        """
        files = [self._file(given, target) for given, target in images]
        self.folder.mkdir(parents=True, exist_ok=True)
        if rank == 0:
            self._remove_abandoned()
        lacking = [i for i, file in enumerate(files) if not _is_whole(file)]
        damaged = sum(files[i].exists() for i in lacking)
        if damaged:
            log(f"{damaged} stored outputs of {self.spec.name} are damaged or have no digest: they are computed again")
        missing = _shared(lacking, rank, size)
        reported = time.monotonic()
        for done, i in enumerate(missing):
            if _is_whole(files[i]):  # another process was faster
                continue
            if done == 0 or time.monotonic() - reported > _REPORT_EVERY:
                log(f"{self.spec.name} computes its outputs: {done} of {len(missing)} images done")
                reported = time.monotonic()
            _store(files[i], self._output(*images[i]))
        return [TeacherOutput(file) for file in files]

    def _remove_abandoned(self) -> None:
        """Remove unfinished files of killed runs, but no file that another run may be writing."""
        for part in [*self.folder.glob(".*.npy"), *self.folder.glob("*.tmp")]:  # earlier versions wrote *.tmp
            try:
                if time.time() - part.stat().st_mtime > _ABANDONED:
                    remove_path(part)
            except FileNotFoundError:  # another run finished or removed it
                continue

    def _file(self, given: Image | None, target: Image) -> Path:
        pixels = target if given is None else given
        made = given is None, self.spec.scale, self.levels, self.ensemble, pixels.shape
        digest = hashlib.sha256(repr(made).encode())
        digest.update(np.ascontiguousarray(pixels).data)
        return self.folder / f"{digest.hexdigest()[:32]}.npy"

    def _output(self, given: Image | None, target: Image) -> NDArray[np.uint16]:
        if given is None:
            s = self.spec.scale
            height, width = (n // s * s for n in target.shape[1:])
            pixels = bicubic_reduce(torch.from_numpy(target[None, :, :height, :width].astype(np.float32)), s)[0]
            if self.levels:
                pixels = (pixels.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)
        else:
            pixels = torch.from_numpy(given.astype(np.float32))
        lazy = restore(
            pixels.numpy(),
            model=self.spec,
            axes="SYX" if self.spec.channels in (1, 3) else "CYX",
            range=(0, 1),
            ensemble=self.ensemble,
            device=self.device,
            precision="float32",
        )
        result: NDArray[np.float32] = lazy.compute()
        return (result.clip(0, 1) * TAUGHT_PEAK).round().astype(np.uint16)


def _store(file: Path, output: NDArray[np.uint16]) -> None:
    """Write an output and the digest of its bytes; the file is complete or does not exist."""
    buffer = io.BytesIO()
    np.save(buffer, output)
    with replacing(file) as part, part.open("wb") as stream:
        stream.write(buffer.getbuffer())
        stream.write(hashlib.sha256(buffer.getbuffer()).digest())


def _is_whole(file: Path) -> bool:
    """Return True if a file has all the bytes that were written; their name says of which image and settings."""
    try:
        content = memoryview(file.read_bytes())
    except FileNotFoundError:
        return False
    return hashlib.sha256(content[:-_DIGEST]).digest() == content[-_DIGEST:]


def _shared(missing: list[int], rank: int, size: int) -> list[int]:
    """Order the missing images for one process: first its share, then the others', shuffled, so that few meet.

    Shares go by an image's number, not by its place among the missing: these differ where another process began first.
    """
    own, others = ([i for i in missing if (i % size == rank) is mine] for mine in (True, False))
    return [*own, *np.random.default_rng(rank).permutation(others).astype(int).tolist()]


def with_teacher(recipe: Recipe, out: Path, device: str) -> tuple[Recipe, Teacher | None]:
    """Resolve the recipe's ``[teacher]``; return the recipe with its name, hash and licence, and the teacher.

    Raises
    ------
    RequestError
        If the teacher does not fit the model, or states no licence.
    """
    if not recipe.teacher:
        return recipe, None
    asked, own = recipe.teacher["model"], recipe.spec
    word = is_quality(asked)
    spec = resolve_model(asked, scale=own.scale if word else None, channels=own.channels if word else None)
    for name in ("scale", "channels"):
        theirs, wanted = getattr(spec, name), getattr(own, name)
        if theirs != wanted:
            raise RequestError(
                f"The teacher {spec.name!r} has {name} {theirs}, the trained model {own.name!r} has {wanted}: give a "
                f"teacher of the same {name}{_CONVERT if name == 'channels' else ''}."
            )
    licence = recipe.teacher.get("licence") or spec.licence
    if not licence:
        raise RequestError(
            f"The teacher {spec.name!r} states no licence, and the trained model's card must name it: give it with "
            "--teacher-licence, or as licence in the recipe's [teacher]."
        )
    ensemble = recipe.teacher.get("ensemble") or views_of(asked)
    facts = {"model": spec.name, "sha256": spec.sha256, "licence": licence, "ensemble": ensemble}
    began = recipe.teacher.get("sha256")
    if began and began != spec.sha256:
        raise RequestError(f"The teacher {asked!r} is another file than the recipe's: its SHA-256 is {spec.sha256}.")
    folder = out.absolute().parent / f"teacher-{spec.sha256[:12] or spec.name}"
    return replace(recipe, teacher=facts), Teacher(spec, ensemble, recipe.levels, folder, device)


_CONVERT = (
    ", or convert it (swin2sr-ops train --init TEACHER --channels N --until 0 --data FOLDER --out RUN --export FILE)"
)

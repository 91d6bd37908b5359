"""Check before a training what would fail after it, or late in it: where it reads and writes, and its steps."""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from swin2sr_ops.errors import OutputError, RequestError, Swin2SROpsError
from swin2sr_ops.hooks.dispatch import resolve_model
from swin2sr_ops.io.base import ImageSource
from swin2sr_ops.io.storage.paths import user_path
from swin2sr_ops.training.noisy_images import is_image
from swin2sr_ops.training.recipe import Recipe

__all__ = ["check_data", "check_export", "check_out", "check_own", "check_steps", "make_folder"]


def check_steps(save_every: int, until: int | None) -> None:
    """Reject steps that are not whole numbers: a run would never reach them."""
    for name, value, least in (("save_every", save_every, 1), ("until", until, 0)):
        if value is None and name == "until":
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise RequestError(f"{name}={value!r} must be a whole number of at least {least}.")


def check_data(data: Path | ImageSource, validate: Path | None, *, single: bool) -> None:
    """Reject folders of images that do not exist; ``single`` data may be one image."""
    images = data if isinstance(data, Path) and not (single and is_image(data)) else None
    for folder, what in ((images, "training images"), (validate, "held-out images")):
        if folder is not None and not folder.is_dir():
            raise RequestError(f"There is no folder {str(folder)!r} for {what}.")


def check_out(out: Path) -> None:
    """Reject a folder of the run that cannot be made."""
    place = out.absolute()
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise RequestError(f"The run cannot be in {str(out)!r}, since {str(place)!r} is not a folder: choose another.")
    if not os.access(place, os.W_OK):
        raise RequestError(f"The run cannot be in {str(out)!r}: you may not write to {str(place)!r}. Choose another.")


def make_folder(out: Path) -> None:
    """Make the folder of a run.

    Raises
    ------
    OutputError
        If the system refuses it.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise OutputError(f"The folder {str(out)!r} of the run cannot be made ({exc}): choose another.") from exc


def check_export(path: Path, models: Mapping[str, object]) -> None:
    """Reject a file for the model that cannot be written, or is a model that the run starts from or learns from."""
    if path.suffix != ".safetensors":
        raise RequestError(f"--export {str(path)!r} must end with .safetensors, the suffix of models.")
    target = Path(os.path.realpath(path))  # a link stays one: the file that it names is written
    if target.is_dir():
        raise RequestError(f"--export {str(path)!r} is a folder: name a file for the model.")
    if not target.parent.is_dir():
        raise RequestError(f"The folder {str(target.parent)!r} of --export does not exist: create it first.")
    if not os.access(target.parent, os.W_OK):
        raise RequestError(f"--export {str(path)!r}: you may not write to the folder {str(target.parent)!r}.")
    for option, model in models.items():
        # A resumed run reads the model again.
        if isinstance(model, (str, PathLike)) and str(target) == os.path.realpath(user_path(model)):
            raise RequestError(
                f"--export {str(path)!r} is the model of --{option}, which must not change: choose another name."
            )


def check_own(path: Path, recipe: Recipe) -> None:
    """Reject an export over a file that is not an earlier export of this model."""
    if not path.is_file() or not path.stat().st_size:
        return
    try:
        found = resolve_model(path)
        own = found.name == recipe.spec.name and "steps_done" in found.provenance
    except Swin2SROpsError:
        own = False
    if not own:
        raise RequestError(
            f"--export {str(path)!r} exists and is not an earlier export of {recipe.spec.name!r}: it is not"
            " overwritten. Choose another name, or remove it."
        )

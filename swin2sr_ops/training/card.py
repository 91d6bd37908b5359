"""Write the card of a model that was trained on noisy images alone, or by a teacher."""

from __future__ import annotations

import os
from pathlib import Path

from swin2sr_ops.errors import RequestError
from swin2sr_ops.io.storage.moves import replacing
from swin2sr_ops.training.losses import TEACHER_SHARE
from swin2sr_ops.training.recipe import Recipe
from swin2sr_ops.training.structure import Structure
from swin2sr_ops.training.watch import Watch

__all__ = ["check_card", "write_card", "write_taught_card"]

_TRAINING = "- Training: "
_HOW = {
    "blind": "blind-spot masking (Noise2Void): it assumes that the noise of a pixel does not depend on that of others",
    "repeats": "repeated recordings of the same place (Noise2Noise)",
    "neighbours": "adjacent frames or planes (Noise2Noise): what moves between them may be blurred",
    "sure": "Stein's unbiased risk estimate for the noise that was measured in the images",
}


def check_card(path: Path, recipe: Recipe) -> None:
    """Reject an export to ``path`` whose card would replace another file.

    Raises
    ------
    RequestError
    """
    card = _card(path)
    folder = Path(os.path.realpath(card)).parent
    if not folder.is_dir():
        raise RequestError(f"The card {str(card)!r} is a link into {str(folder)!r}, which is not a folder: remove it.")
    if not card.exists():
        return
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    if not text.startswith(_title(recipe) + "\n") or f"\n{_TRAINING}" not in text:
        raise RequestError(
            f"{str(card)!r} is not a card of {recipe.spec.name!r}, and the export would replace it by one: rename it,"
            " or give the model file another name."
        )


def write_card(path: Path, recipe: Recipe, watch: Watch, structure: Structure | None, planes: int) -> Path:
    """Write ``NAME.md`` beside the model ``NAME.safetensors``; return its path."""
    kind = "mean square error plus the variance of the noise"
    lines = [
        _title(recipe),
        "",
        f"Removes noise from images of {recipe.spec.channels} channel(s) like those that it was trained on.",
        "No clean image was used, and none to measure it with: compare a result with its input before you rely on it.",
        "",
        f"{_TRAINING}{_HOW[recipe.noisy]}; from {_origin(recipe)}.",
        f"- Images: {planes} planes; a part of them was held out.",
        f"- Steps: {watch.step} of {recipe.steps}, {recipe.batch} patches of {recipe.patch} px each.",
    ]
    if watch.first is not None and watch.best is not None:
        lines.append(
            f"- Risk on the held-out parts ({kind}, of 0..1): {watch.first:.5g} at first, {watch.best:.5g} now."
        )
        if watch.keeps_first:
            lines.append(f"- Result: {watch.verdict(recipe.noisy)}.")
    if structure is not None:
        lines.append(f"- {str(structure)[0].upper()}{str(structure)[1:]}.")
    return _write(path, recipe, lines)


def write_taught_card(path: Path, recipe: Recipe, steps: int, planes: int) -> Path:
    """Write ``NAME.md`` beside a model that a teacher trained, with the teacher's licence and hash; return its path."""
    spec, teacher, share = recipe.spec, recipe.teacher, recipe.loss.get("teacher", TEACHER_SHARE)
    purpose = f"Enlarges images of {spec.channels} channel(s) {spec.scale} times."
    views = " (mean of all eight flips and rotations)" if teacher["ensemble"] == 8 else ""
    lines = [
        _title(recipe),
        "",
        purpose if spec.scale > 1 else f"Restores images of {spec.channels} channel(s).",
        "Compare it with its teacher on images that neither was trained on: `swin2sr-ops evaluate`.",
        "",
        f"{_TRAINING}distillation, from {_origin(recipe)}; {share:.0%} of the loss compares "
        "with the outputs of the teacher, the rest with the images.",
        f"- Teacher: {teacher['model']}{views}; licence {teacher['licence']}; SHA-256 {teacher['sha256']}.",
        f"- Images: {planes} planes.",
        f"- Steps: {steps} of {recipe.steps}, {recipe.batch} patches of {recipe.patch} px each.",
    ]
    return _write(path, recipe, lines)


def _write(path: Path, recipe: Recipe, lines: list[str]) -> Path:
    lines.append(f"- Licence: {recipe.spec.licence or 'not stated'}.")
    card = _card(path)
    with replacing(card) as part:
        part.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return card


def _card(path: Path) -> Path:
    return path.with_suffix(".md")


def _title(recipe: Recipe) -> str:
    return f"# {recipe.spec.name}"


def _origin(recipe: Recipe) -> str:
    if not recipe.init:
        return "random weights"
    return f"{recipe.init['name']} (licence {recipe.init.get('licence', 'not stated')})"

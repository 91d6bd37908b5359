"""Choose a model from measurements: rules with their reasons, and None if no model fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swin2sr_ops.advise.measure import Measured
from swin2sr_ops.hooks.models import list_models
from swin2sr_ops.spec import ModelSpec

__all__ = ["Advice", "recommend"]

#: Least noise for which denoising is recommended, in 1/255 of the range: texture of clean photographs measures less.
NOISY = 5.0
#: Below this value, apparent noise may be texture, if the signal reaches this frequency (in cycles per pixel).
TEXTURE, FINE = 12.0, 0.38
#: Strength of block borders from which JPEG is visible (quality 75 and lower).
BLOCKS = 0.1
#: Signal that ends below half of the pixels' limit: two input pixels show one detail.
OVERSAMPLED = 0.22
#: Fractions of pixels that cause a note.
_SATURATED, _BLACK, _OUTLIERS = 0.005, 0.2, 0.5


@dataclass(frozen=True)
class Advice:
    """A recommended model, with reasons.

    Attributes
    ----------
    model : str or None
        A catalogue name; None if no model fits.
    reasons : tuple of str
        Sentences, the decisive one first.
    trained : str
        Description of the model's training data.
    others : dict
        Further suitable models, and the difference of each.
    notes : tuple of str
        Further observations: saturation, outliers.
    options : dict
        Further options of ``restore`` that suit the image.
    """

    model: str | None
    reasons: tuple[str, ...]
    trained: str = ""
    others: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)


def recommend(measured: Measured, *, colour: bool) -> Advice:
    """Choose among the shipped and the released models from the measurements of the worst channel."""
    kind = "rgb" if colour else "gray"
    notes, options = _notes(measured)
    if _is_noisy(measured) or measured.blocks >= BLOCKS:
        return _clean(measured, kind, notes, options)
    if 0 < measured.cutoff < OVERSAMPLED:
        reason = (
            f"Signal ends at {measured.cutoff:.2f} cycles per pixel, details of {1 / measured.cutoff:.1f} px: pixels"
            " are already finer than the detail, and super-resolution shows nothing new."
        )
        return Advice(None, (reason, "To reduce blur, a model must be trained on it: none of these is."), notes=notes)
    best = f"small-x2-{kind}"
    others = {
        f"tiny-x2-{kind}": "half the time, slightly less detail",
        f"nano-x2-{kind}": "a fifth of the time, for previews",
        f"small-x4-{kind}": "scale 4",
    }
    others |= {"swin2sr-lightweight-x2": "the authors' model, better and slower; a download"} if colour else {}
    if measured.sigma255 < NOISY:
        reason = (
            f"There is little noise ({measured.sigma255:.1f} of 255, including texture) and no JPEG blocks: the image"
            " resembles the clean images on which the x2 models were trained."
        )
    else:
        reason = (
            f"The apparent noise ({measured.sigma255:.1f} of 255) may be fine texture. If the image looks"
            f" grainy, denoise it with small-x1-{kind} first."
        )
    return Advice(best, (reason, *_sharpness(measured)), _trained(best), others, notes, options)


def _is_noisy(measured: Measured) -> bool:
    """Return True if there is noise to remove; signal up to the finest frequencies indicates texture instead."""
    texture = measured.sigma255 < TEXTURE and measured.cutoff >= FINE
    return measured.sigma255 >= NOISY and not texture


def _clean(measured: Measured, kind: str, notes: tuple[str, ...], options: dict[str, str]) -> Advice:
    """Recommend an x1 model for noise or JPEG, if its training covered this strength."""
    best = f"small-x1-{kind}"
    degrade = _degradations(best)
    most = float(degrade.get("noise", {}).get("sigma", (0, 50))[1])
    fewest = float(degrade.get("poisson", {}).get("photons", (10, 0))[0])
    reasons = []
    if _is_noisy(measured):
        poisson = measured.noise.gain > 0
        what = (
            f"mostly photon noise ({measured.photons:.0f} photons over the range)"
            if poisson
            else "equal in dark and bright parts"
        )
        reasons.append(f"The noise is {measured.sigma255:.0f} of 255 in the middle of the range, {what}.")
        if measured.sigma255 > 1.1 * most or measured.photons < fewest:
            limits = (
                f"It exceeds the training of these models: at most {most:.0f} of 255, at least {fewest:.0f} photons."
            )
            advice = (
                "Average several frames or bin pixels first, or train a model on such images (`swin2sr-ops train`)."
            )
            return Advice(None, (*reasons, limits, advice), notes=notes)
    if measured.blocks >= BLOCKS:
        reasons.append(f"JPEG blocks of 8 px are visible (by {measured.blocks:.0%} of a mean step).")
    reasons.append("Super-resolution would enlarge them, too: first restore the image at its own size.")
    others = {f"tiny-x1-{kind}": "half the time"} | _released(measured, kind)
    if kind == "gray" and measured.noise.gain > 0 and measured.blocks < BLOCKS:
        others = {"small-x1-camera": "trained on the noise of microscopes' cameras, without JPEG"} | others
    return Advice(best, tuple(reasons), _trained(best), others, notes, options)


def _released(measured: Measured, kind: str) -> dict[str, str]:
    """Return the authors' model for a similar strength of noise, and their models for JPEG."""
    name = "color" if kind == "rgb" else "gray"
    found = {}
    if _is_noisy(measured) and measured.noise.gain == 0:
        nearest = min((15, 25, 50), key=lambda strength: abs(strength - measured.sigma255))
        if abs(nearest - measured.sigma255) <= 0.2 * nearest:
            found[f"swinir-denoise-{name}-{nearest}"] = f"for Gaussian noise of {nearest} of 255 alone; a download"
    if measured.blocks >= BLOCKS and not _is_noisy(measured):
        found |= {"swin2sr-jpeg": "for JPEG of any quality; a download"} if kind == "gray" else {}
        found |= {"swin2sr-compressed-x4": "scale 4, for images reduced and then compressed"} if kind == "rgb" else {}
    return found


def _sharpness(measured: Measured) -> tuple[str, ...]:
    if not measured.cutoff:
        return ()
    return (f"Signal reaches {measured.cutoff:.2f} cycles per pixel (the pixels' limit is 0.5).",)


def _notes(measured: Measured) -> tuple[tuple[str, ...], dict[str, str]]:
    notes, options = [], {}
    if measured.saturated > _SATURATED:
        notes.append(f"{measured.saturated:.1%} of the pixels are saturated: no model can recover them.")
    if measured.black > _BLACK:
        notes.append(f"{measured.black:.0%} of the pixels have the smallest value: if they are invalid, give --nodata.")
    inner = measured.inner_high - measured.inner_low
    if inner < _OUTLIERS * measured.width:
        notes.append(
            f"0.2 % of the pixels take up {1 - inner / measured.width:.0%} of the range: a range without them gives the"
            " network more contrast."
        )
        options["--range"] = "p0.1,p99.9"
    return tuple(notes), options


def _degradations(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _spec(name).provenance.get("recipe", {}).get("degrade", {})
    return found


def _trained(name: str) -> str:
    """Describe a model's training from the metadata in its file."""
    spec = _spec(name)
    recipe = spec.provenance.get("recipe", {})
    shares = sorted(recipe.get("folders", {}).items(), key=lambda item: -item[1])
    images = ", ".join(f"{folder} {share:.0%}" for folder, share in shares)
    parts = [f"{spec.provenance.get('images', '?')} images ({images})"]
    parts += [_degradation(kind, given) for kind, given in recipe.get("degrade", {}).items() if kind != "quantise"]
    if spec.scale > 1:
        parts.append(f"reduced {spec.scale} times, without noise")
    return "; ".join(part for part in parts if part)


def _degradation(kind: str, given: Mapping[str, Any]) -> str:
    ends: Sequence[float]
    if kind == "noise":
        ends = given.get("sigma", (0, 0))
        return f"Gaussian noise of {ends[0]:g} to {ends[1]:g} of 255"
    if kind == "poisson":
        ends = given.get("photons", (0, 0))
        return f"{ends[0]:g} to {ends[1]:g} photons"
    if kind == "jpeg":
        ends = given.get("quality", (0, 0))
        return f"JPEG of quality {ends[0]:g} to {ends[1]:g}"
    return kind


def _spec(name: str) -> ModelSpec:
    return next(spec for spec in list_models() if spec.name == name)

"""From what was measured to a model: rules with their reasons, and "none fits" where none does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from swin2sr_ops.advise.measure import Measured
from swin2sr_ops.hooks.models import list_models
from swin2sr_ops.spec import ModelSpec

__all__ = ["Advice", "recommend"]

#: Noise from which on an image is cleaned, in 1/255 of the range: texture of clean photographs looks like less.
NOISY = 5.0
#: Up to this much, what looks like noise may be texture, where signal reaches so far (in cycles per pixel).
TEXTURE, FINE = 12.0, 0.38
#: Steps at the borders of blocks from which on JPEG is visible (quality 75 and lower).
BLOCKS = 0.1
#: Signal that ends below half of what pixels can hold: two pixels of the input show one detail.
OVERSAMPLED = 0.22
#: Shares of pixels worth a note.
_SATURATED, _BLACK, _OUTLIERS = 0.005, 0.2, 0.5


@dataclass(frozen=True)
class Advice:
    """Which model, and why.

    Attributes
    ----------
    model : str or None
        A catalogue name; None where none fits.
    reasons : tuple of str
        Sentences, the decisive one first.
    trained : str
        What the model was trained on, in words.
    others : dict
        Further models that fit, with what is different about each.
    notes : tuple of str
        What else was seen: saturation, outliers.
    options : dict
        Options of ``restore`` that fit the image, beside the model.
    """

    model: str | None
    reasons: tuple[str, ...]
    trained: str = ""
    others: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    options: dict[str, str] = field(default_factory=dict)


def recommend(measured: Measured, *, colour: bool) -> Advice:
    """Choose among the shipped and the released models by what was measured on the worst channel."""
    kind = "rgb" if colour else "gray"
    notes, options = _notes(measured)
    if _is_noisy(measured) or measured.blocks >= BLOCKS:
        return _clean(measured, kind, notes, options)
    if 0 < measured.cutoff < OVERSAMPLED:
        reason = (
            f"Signal ends at {measured.cutoff:.2f} cycles per pixel, details of {1 / measured.cutoff:.1f} px: pixels"
            " are finer than the detail already, and enlarging shows nothing new."
        )
        return Advice(None, (reason, "For less blur a model must know the blur: none of these does."), notes=notes)
    best = f"small-x2-{kind}"
    others = {
        f"tiny-x2-{kind}": "half the time, a little less detail",
        f"nano-x2-{kind}": "a fifth of the time, for previews",
        f"tiny-x4-{kind}": "enlarges four times",
    }
    others |= {"swin2sr-lightweight-x2": "the authors' own, better and slower; a download"} if colour else {}
    if measured.sigma255 < NOISY:
        reason = (
            f"There is little noise ({measured.sigma255:.1f} of 255, texture included) and no JPEG blocks: the image is"
            " like the clean ones that enlarging models were trained on."
        )
    else:
        reason = (
            f"What may be noise ({measured.sigma255:.1f} of 255) may as well be fine texture. Where the image looks"
            f" grainy, clean it with small-x1-{kind} first."
        )
    return Advice(best, (reason, *_sharpness(measured)), _trained(best), others, notes, options)


def _is_noisy(measured: Measured) -> bool:
    """Whether there is noise to remove: signal that reaches the finest frequencies says that it is rather texture."""
    texture = measured.sigma255 < TEXTURE and measured.cutoff >= FINE
    return measured.sigma255 >= NOISY and not texture


def _clean(measured: Measured, kind: str, notes: tuple[str, ...], options: dict[str, str]) -> Advice:
    """Noise or JPEG: a model that cleans at the image's own size, where its training saw as much."""
    best = f"small-x1-{kind}"
    degrade = _degradations(best)
    most = float(degrade.get("noise", {}).get("sigma", (0, 50))[1])
    fewest = float(degrade.get("poisson", {}).get("photons", (10, 0))[0])
    reasons = []
    if _is_noisy(measured):
        poisson = measured.noise.gain > 0
        what = (
            f"mostly of photons ({measured.photons:.0f} over the range)"
            if poisson
            else "alike in dark and bright parts"
        )
        reasons.append(f"The noise is {measured.sigma255:.0f} of 255 in the middle of the range, {what}.")
        if measured.sigma255 > 1.1 * most or measured.photons < fewest:
            told = (
                f"It is stronger than these models have seen: at most {most:.0f} of 255, at least {fewest:.0f} photons."
            )
            advice = (
                "Average several frames or bin pixels first, or train a model on such images (`swin2sr-ops train`)."
            )
            return Advice(None, (*reasons, told, advice), notes=notes)
    if measured.blocks >= BLOCKS:
        reasons.append(f"JPEG blocks of 8 px stand out (by {measured.blocks:.0%} of a mean step).")
    reasons.append("A model that enlarges would enlarge that with the rest: clean first, at the image's own size.")
    others = {f"tiny-x1-{kind}": "half the time"} | _released(measured, kind)
    return Advice(best, tuple(reasons), _trained(best), others, notes, options)


def _released(measured: Measured, kind: str) -> dict[str, str]:
    """The authors' models for one strength of noise, where it is near; those for JPEG."""
    name = "color" if kind == "rgb" else "gray"
    found = {}
    if _is_noisy(measured) and measured.noise.gain == 0:
        nearest = min((15, 25, 50), key=lambda strength: abs(strength - measured.sigma255))
        if abs(nearest - measured.sigma255) <= 0.2 * nearest:
            found[f"swinir-denoise-{name}-{nearest}"] = f"for Gaussian noise of {nearest} of 255 alone; a download"
    if measured.blocks >= BLOCKS and not _is_noisy(measured):
        found |= {"swin2sr-jpeg": "for JPEG of any quality; a download"} if kind == "gray" else {}
        found |= (
            {"swin2sr-compressed-x4": "enlarges four times what was reduced, then compressed"} if kind == "rgb" else {}
        )
    return found


def _sharpness(measured: Measured) -> tuple[str, ...]:
    if not measured.cutoff:
        return ()
    return (f"Signal reaches {measured.cutoff:.2f} cycles per pixel (0.5 is all that pixels can hold).",)


def _notes(measured: Measured) -> tuple[tuple[str, ...], dict[str, str]]:
    notes, options = [], {}
    if measured.saturated > _SATURATED:
        notes.append(f"{measured.saturated:.1%} of the pixels are saturated: no model knows what was brighter.")
    if measured.black > _BLACK:
        notes.append(
            f"{measured.black:.0%} of the pixels have the smallest value: if they are no pixels, say --nodata."
        )
    inner = measured.inner_high - measured.inner_low
    if inner < _OUTLIERS * measured.width:
        notes.append(
            f"0.2 % of the pixels take up {1 - inner / measured.width:.0%} of the range: a range without them shows the"
            " network more contrast."
        )
        options["--range"] = "p0.1,p99.9"
    return tuple(notes), options


def _degradations(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _spec(name).provenance.get("recipe", {}).get("degrade", {})
    return found


def _trained(name: str) -> str:
    """What a model's own file says of its training, in words."""
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

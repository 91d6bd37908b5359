"""Fit intervals to the errors of a model on pairs: conformal risk control over patches."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.errors import RequestError
from swin2sr_ops.pixels.intervals import Calibration, contrast

if TYPE_CHECKING:
    from swin2sr_ops.evaluate.scoring import Measured
    from swin2sr_ops.spec import ModelSpec

__all__ = ["COVERAGES", "Calibrator", "coverage_of", "left_out", "smallest_scale", "unit_of"]

#: Coverages in percent that a calibration offers, where there are patches enough.
COVERAGES = (50, 68, 80, 90, 95, 99)
_BINS, _PATCH, _DRAWN = 8, 64, 4096
#: Pixels that a part of the intensity range needs for a gain of its own.
_FEW = 2000
#: Groups of images that are left out in turn, at most: each costs a fit.
_MOST_GROUPS = 24
#: A truth is in another unit than its input if its gain is off by more than this, or its offset by this part of the
#: range.
_OTHER_UNIT = 0.05


@dataclass
class _Patch:
    """Errors, restored values and spreads of some pixels, in fractions of the data range."""

    error: NDArray[np.float64]
    value: NDArray[np.float64]
    spread: NDArray[np.float64]
    group: str = ""


@dataclass
class Calibrator:
    """Gathers the errors of one model, image by image, and fits a calibration to them.

    Patches of 64 x 64 pixels are dealt to two halves. The first half gives the shape: how errors grow with intensity,
    beside the spread. The second half gives, for each coverage, the smallest scale with which the mean share of
    missed pixels over its patches and one unseen patch is at most what was asked for: the expected coverage of a new
    patch is then at least that, if patches are exchangeable. After Angelopoulos, Bates, Fisch, Lei and Schuster,
    "Conformal risk control", 2022 (arXiv:2208.02814).

    Parameters
    ----------
    seed : int
        Deals the patches, and draws pixels of large ones.
    fit_truth : bool
        Bring each truth to the unit of its input, by `unit_of`: of pairs whose files were scaled apart.
    group : str, optional
        A regular expression: images whose names begin with the same match are one group for `left_out`, such as the
        channels of one field. By default each image is its own.
    patch : int
        Side of a patch in pixels.

    Attributes
    ----------
    other_units : dict
        Image -> gain and offset of its input over its truth, where their units differ and the truth was not fitted.
    spec : ModelSpec or None
        The network that restored the images; None before the first one.

    Raises
    ------
    RequestError
        If ``group`` is not a regular expression.
    """

    seed: int = 0
    fit_truth: bool = False
    group: str | None = None
    patch: int = _PATCH
    patches: list[_Patch] = field(default_factory=list)
    other_units: dict[str, tuple[float, float]] = field(default_factory=dict)
    spec: ModelSpec | None = None

    def __post_init__(self) -> None:
        try:
            re.compile(self.group or "")
        except re.error as exc:
            raise RequestError(
                f"group={self.group!r} is not a regular expression ({exc}): give one, such as '[0-9]+'."
            ) from exc

    def check(self, models: int, names: Iterable[str], *, truth: bool) -> None:
        """Refuse before the work what `__call__` would refuse in the middle of it.

        Parameters
        ----------
        models : int
            How many models will be measured.
        names : iterable of str
            Names of the images' files.
        truth : bool
            False if the images have no truth.

        Raises
        ------
        RequestError
            If there is not one model, an image is in no group, or truths are missing.
        """
        if not truth:
            raise RequestError("A calibration needs the truth of each image: leave out --no-truth.")
        if models != 1:
            raise RequestError(f"A calibration describes one model, but {models} were given: give --model once.")
        for name in names:
            self._group_of(name)

    def __call__(self, measured: Measured) -> None:
        """Take the errors of one image."""
        names = [name for name in measured.outputs if name not in ("bicubic", "input")]
        self.check(len(names), [measured.name], truth=measured.truth is not None)
        assert measured.truth is not None
        self._keep_model(measured.models.get(names[0]), measured.name)
        output, spread = measured.outputs[names[0]], measured.spreads.get(names[0])
        if output.dtype != measured.truth.dtype:
            raise RequestError(
                f"{measured.name}: the truth has the type {measured.truth.dtype} and the result {output.dtype}: an"
                " error is a difference of values of one unit. Convert one of them."
            )
        lo, peak = measured.levels.lo, measured.levels.peak
        truth = measured.truth.astype(np.float64)
        gain, offset = unit_of(truth, measured.given.astype(np.float64), measured.scale)
        if self.fit_truth:
            truth = gain * truth + offset
        elif abs(gain - 1) > _OTHER_UNIT or abs(offset + (gain - 1) * truth.mean()) > _OTHER_UNIT * peak:
            self.other_units[measured.name] = gain, offset
        value = (output.astype(np.float64) - lo) / peak
        error = np.abs(value - (truth - lo) / peak)
        apart = (contrast(output, measured.scale, 0, 1) if spread is None else spread).astype(np.float64) / peak
        random = np.random.default_rng((self.seed, len(self.patches)))
        b, side = (measured.scale if measured.scale > 1 else 0), self.patch
        for y in range(b, value.shape[0] - b - side // 2, side):
            for x in range(b, value.shape[1] - b - side // 2, side):
                at = slice(y, min(y + side, value.shape[0] - b)), slice(x, min(x + side, value.shape[1] - b))
                flat = [array[at].ravel() for array in (error, value, apart)]
                chosen = random.choice(flat[0].size, min(_DRAWN, flat[0].size), replace=False)
                drawn = [array[chosen] for array in flat]
                self.patches.append(_Patch(drawn[0], drawn[1], drawn[2], self._group_of(measured.name)))

    def _keep_model(self, spec: ModelSpec | None, image: str) -> None:
        """Note the network of an image: a word such as ``best`` names another one for colour than for gray."""
        if self.spec is not None and spec is not None and spec.sha256 != self.spec.sha256:
            raise RequestError(
                f"{image} was restored by {spec.name!r}, and other images by {self.spec.name!r}: a calibration"
                " describes one model. Give its name as --model, or images of one kind."
            )
        self.spec = self.spec or spec

    def _group_of(self, name: str) -> str:
        if self.group is None:
            return name
        found = re.match(self.group, name)
        if found is None:
            raise RequestError(
                f"group={self.group!r} matches nothing at the start of the name {name!r}: images of one group begin"
                " with the same match."
            )
        return found.group()

    def fit(self, **about: str | int | None) -> Calibration:
        """Fit the calibration; ``about`` holds its fields that are no figures.

        Raises
        ------
        RequestError
            There are too few patches.
        """
        order = np.random.default_rng(self.seed).permutation(len(self.patches))
        first, second = ([self.patches[i] for i in order[k::2]] for k in (0, 1))
        if len(second) < 10:
            raise RequestError(
                f"The images have {len(self.patches)} patches of {self.patch} x {self.patch} px: a calibration needs"
                " at least 20. Give more images."
            )
        value, error, spread = (
            np.concatenate([getattr(p, name) for p in first]) for name in ("value", "error", "spread")
        )
        floor = float(np.median(spread)) / 2 or 1.0
        gain = _gains(value, error / (spread + floor))
        shape = Calibration(
            gain=gain, floor=floor, scale={}, patches=len(second), pixels=sum(p.error.size for p in second),
            fitted_truth=self.fit_truth, **about,  # type: ignore[arg-type]
        )  # fmt: skip
        ratios = [np.sort(p.error / np.maximum(shape.relative(p.value, p.spread), 1e-12)) for p in second]
        for percent in COVERAGES:
            scale = smallest_scale(ratios, 1 - percent / 100)
            if scale is not None:
                shape.scale[str(percent)] = scale
        return shape


def _gains(value: NDArray[np.float64], ratio: NDArray[np.float64]) -> tuple[float, ...]:
    """The 90 % quantile of the relative error in each part of the intensity range; of all, where there are few."""
    place = np.minimum((np.clip(value, 0, 1) * _BINS).astype(np.intp), _BINS - 1)
    whole = float(np.quantile(ratio, 0.9)) or 1e-6
    parts = [ratio[place == i] for i in range(_BINS)]
    return tuple(max(float(np.quantile(p, 0.9)), 0.05 * whole) if p.size >= _FEW else whole for p in parts)


def smallest_scale(ratios: Sequence[NDArray[np.float64]], miss: float) -> float | None:
    """Find the smallest scale with ``(sum of missed shares + 1) / (patches + 1) <= miss``; None where there is none.

    Parameters
    ----------
    ratios : sequence of ndarray
        Sorted errors of each patch, divided by what the scale multiplies.
    miss : float
        Share of pixels that intervals may miss.
    """
    count = len(ratios)
    if (count + 1) * miss < 1:
        return None

    def risk(scale: float) -> float:
        missed = [1 - np.searchsorted(r, scale, side="right") / r.size for r in ratios]
        return (float(np.sum(missed)) + 1) / (count + 1)

    low, high = 0.0, max(float(r[-1]) for r in ratios)
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if risk(middle) <= miss else (middle, high)
    return high


def coverage_of(calibration: Calibration, patches: Sequence[_Patch]) -> dict[str, float]:
    """Share of pixels, in percent, that the intervals of each coverage hold on other patches."""
    found = {}
    for percent, scale in calibration.scale.items():
        held = [np.mean(p.error <= scale * calibration.relative(p.value, p.spread)) for p in patches]
        found[percent] = 100 * float(np.mean(held))
    return found


def unit_of(truth: NDArray[np.float64], given: NDArray[np.float64], scale: int) -> tuple[float, float]:
    """Return gain and offset that bring a truth to the unit of its input, by least squares.

    The input is regressed on the truth, whose noise is small, not the other way: noise of the regressor would shrink
    the gain. A truth of a higher resolution is averaged over the pixels of the input.
    """
    rows, columns = (min(n, m // scale) for n, m in zip(given.shape[:2], truth.shape[:2], strict=True))
    cut = truth[: rows * scale, : columns * scale]
    coarse = cut.reshape(rows, scale, columns, scale, *cut.shape[2:]).mean((1, 3)).ravel()
    seen = given[:rows, :columns].ravel()
    apart = coarse - coarse.mean()
    power = float(apart @ apart)
    if power == 0 or coarse.size != seen.size:
        return 1.0, 0.0
    gain = float(apart @ (seen - seen.mean())) / power
    return gain, float(seen.mean() - gain * coarse.mean())


def left_out(calibrator: Calibrator) -> dict[str, list[float]]:
    """Leave each group of images out in turn, calibrate on the others, and measure the coverage on it, in percent.

    Patches of one image are alike, so this is what a calibration promises for an image that it has not seen. Return
    the coverages of each group, by the nominal one; nothing where the rest is too little for a calibration.
    """
    groups = sorted({patch.group for patch in calibrator.patches})
    if len(groups) > _MOST_GROUPS:
        groups = groups[:: -(-len(groups) // _MOST_GROUPS)]
    found: dict[str, list[float]] = {}
    for group in groups:
        others = Calibrator(calibrator.seed, patches=[p for p in calibrator.patches if p.group != group])
        try:
            rest = others.fit(model="", weights="", ensemble=1, consistent=None)
        except RequestError:  # too few patches
            return {}
        held = coverage_of(rest, [p for p in calibrator.patches if p.group == group])
        for percent, share in held.items():
            found.setdefault(percent, []).append(share)
    return found

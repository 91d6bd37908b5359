"""Measure models on a folder of images, by the protocol of the official scripts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swin2sr_ops.calls import path_of
from swin2sr_ops.errors import RequestError, Swin2SROpsError
from swin2sr_ops.evaluate.data import Case, planes
from swin2sr_ops.evaluate.degrade import Degradation, Given, Levels, gray, luma8
from swin2sr_ops.evaluate.report import Evaluation, Scores, shown_by_default
from swin2sr_ops.evaluate.request import cases_of, check_request
from swin2sr_ops.evaluate.restoring import Restoring, interpolated
from swin2sr_ops.evaluate.scoring import Measured, scores_of
from swin2sr_ops.spec import ModelSpec

__all__ = ["evaluate"]

Model = str | PathLike[str] | ModelSpec


@dataclass(frozen=True)
class _Protocol:
    scale: int
    degradation: Degradation | None  # None: inputs are given
    gray: bool
    border: int
    data_range: tuple[float, float] | None
    extra: tuple[str, ...]

    @property
    def jpeg(self) -> bool:
        return self.degradation is not None and self.degradation.has("jpeg")


def evaluate(
    models: Model | Sequence[Model],
    data: str | PathLike[str],
    *,
    scale: int,
    degrade: str | None = None,
    inputs: str | PathLike[str] | None = None,
    truth: bool = True,
    gray: bool = False,
    baseline: bool = False,
    metrics: Sequence[str] | None = None,
    border: int | None = None,
    data_range: tuple[float, float] | None = None,
    limit: int | None = None,
    padding: str = "official",
    on_image: Callable[[Measured], None] | None = None,
    **options: Any,
) -> Evaluation:
    """Measure models on a folder of images.

    Parameters
    ----------
    models : str, path, ModelSpec or several
        Models as in `swin2sr_ops.restore`; all of scale ``scale``.
    data : path
        Clean images, or pairs: see `swin2sr_ops.evaluate.data.find_cases`.
    scale : int
        Enlargement.
    degrade : str, optional
        How inputs are made: ``bicubic``, ``jpeg:10``, ``noise:25``, ``poisson:30``, ``bicubic+jpeg:10``; the prefix
        ``gray-`` converts colour to gray first. By default given inputs are used; if there are none, ``bicubic``.
    inputs : path, optional
        Folder of the inputs, named like the clean images.
    truth : bool
        False: ``data`` holds inputs only, and only their fidelity can be measured.
    gray : bool
        Convert colour to gray first. One-channel denoising and JPEG models always do so, as in the papers.
    baseline : bool
        Also measure bicubic enlargement, or at scale 1 the input itself.
    metrics : sequence of str, optional
        Figures for tables, from `COLUMNS`; ``si_psnr``, ``frc``, ``rse``, ``rsp``,
        ``decorrelation``, ``fidelity`` and those of `opensr_scores` are only computed if named.
    border : int, optional
        Pixels to leave out at each edge: by default ``scale`` for super-resolution, 0 at scale 1.
    data_range : (float, float), optional
        Values of black and white; by default 0 to 255 for 8 bits, else each truth's smallest and largest.
    limit : int, optional
        Most images to measure, from the first.
    padding : str
        ``"official"``: mirrored, with the edge repeated, to the next multiple of the window and by at least one
        pixel, as in the published figures; ``"model"``: the networks' own, as in `swin2sr_ops.restore`.
    on_image : callable, optional
        Receives each `Measured`.
    **options
        ``range``, ``halo``, ``tile``, ``device``, ``precision``, ... of `swin2sr_ops.restore`; the default
        precision is float32.

    Examples
    --------
    >>> found = evaluate("tiny-x2-rgb", "Set5", scale=2)  # doctest: +SKIP
    >>> found.models[0].mean["psnr_y"]  # doctest: +SKIP
    36.4
    """
    given = [models] if isinstance(models, (str, PathLike, ModelSpec)) else list(models)
    options = {"precision": "float32"} | options  # published figures are computed in float32
    runs = [Restoring.of(model, scale, padding, options) for model in given]
    check_request(runs, scale, metrics, border, limit)
    cases, steps = cases_of(Path(path_of(data, "data")), scale, degrade, inputs, truth)
    made = truth and steps is not None and scale == 1
    protocol = _Protocol(
        scale=scale,
        degradation=steps if truth else None,
        gray=gray or (steps is not None and steps.gray) or (made and all(run.channels == 1 for run in runs)),
        border=(scale if scale > 1 else 0) if border is None else border,
        data_range=data_range,
        extra=tuple(metrics or ()) if truth else ("fidelity",),
    )
    return _run(cases[:limit], runs, protocol, _Wanted(Path(data), metrics, baseline, padding, steps, truth), on_image)


@dataclass(frozen=True)
class _Wanted:
    """Contents of the report besides the protocol."""

    data: Path
    metrics: Sequence[str] | None
    baseline: bool
    padding: str
    steps: Degradation | None
    truth: bool


def _run(
    cases: list[Case],
    runs: list[Restoring],
    protocol: _Protocol,
    wanted: _Wanted,
    on_image: Callable[[Measured], None] | None,
) -> Evaluation:
    scores = [Scores(run.name) for run in runs]
    base = Scores("bicubic" if protocol.scale > 1 else "input")
    colour = False
    for measured in (m for case in cases for m in _measured(case, runs, protocol, wanted)):
        colour |= measured.given.shape[-1] == 3
        for target in (*scores, base):
            target.images[measured.name] = measured.scores[target.model]
        if on_image is not None:
            on_image(measured)
    shown = tuple(wanted.metrics or ()) or shown_by_default(
        scale=protocol.scale, colour=colour, jpeg=protocol.jpeg, only_inputs=not wanted.truth
    )
    place = {
        "data": wanted.data.name or str(wanted.data),
        "scale": protocol.scale,
        "degrade": str(wanted.steps) if protocol.degradation else "inputs as given",
        "gray": protocol.gray,
        "padding": wanted.padding,
        "border": protocol.border,
        "data_range": _range_text(cases, protocol),
    }
    return Evaluation(place, scores, base if wanted.baseline else None, shown)


def _range_text(cases: list[Case], protocol: _Protocol) -> str:
    if protocol.data_range is not None:
        return "{:g},{:g}".format(*protocol.data_range)
    first = next(pixels for _, pixels in planes(cases[0].truth or cases[0].given or Path()))
    return "0,255" if first.dtype == np.uint8 else "smallest to largest value of each truth"


def _measured(case: Case, runs: list[Restoring], protocol: _Protocol, wanted: _Wanted) -> Iterator[Measured]:
    for plane in _planes(case):
        try:
            yield _one(case.name, plane, runs, protocol, wanted)
        except Swin2SROpsError as exc:
            raise type(exc)(f"{case.name}{plane[0]}: {exc}") from exc


_Plane = tuple[str, NDArray[Any] | None, NDArray[Any] | None]


def _planes(case: Case) -> Iterator[_Plane]:
    """Read the planes of a case: name suffix, truth, input."""
    if case.truth is None or case.given is None:
        for place, pixels in planes(case.truth or case.given or Path()):
            yield (place, None, pixels) if case.truth is None else (place, pixels, None)
        return
    truths, givens = list(planes(case.truth)), list(planes(case.given))
    if [place for place, _ in truths] != [place for place, _ in givens]:
        raise RequestError(f"{case.name}: the truth has {len(truths)} planes and the input {len(givens)}.")
    for (place, truth), (_, given) in zip(truths, givens, strict=True):
        yield place, truth, given


def _one(name: str, plane: _Plane, runs: list[Restoring], protocol: _Protocol, wanted: _Wanted) -> Measured:
    place, truth, at_hand = plane
    truth, at_hand = (x if x is None else _coloured(x, protocol) for x in (truth, at_hand))
    s = protocol.scale
    first = at_hand if truth is None else truth
    assert first is not None
    levels = Levels.of(first, protocol.data_range)
    if at_hand is not None:
        given = Given(at_hand)
    else:
        assert truth is not None
        assert protocol.degradation is not None
        truth = truth[: truth.shape[0] // s * s, : truth.shape[1] // s * s]
        given = protocol.degradation.apply(truth, s, levels)
    truth = None if truth is None else _fitting(truth, given.pixels, s)
    kind = first.dtype if given.unit else given.pixels.dtype
    pixels = given.pixels * np.float32(levels.peak) + np.float32(levels.lo) if given.unit else given.pixels
    degrade = None if wanted.steps is None else str(wanted.steps).removeprefix("gray-")
    found = Measured(name + place, s, pixels, truth, levels, degrade)
    found.outputs["bicubic" if s > 1 else "input"] = interpolated(given, s, levels, kind)
    for run in runs:
        found.outputs[run.name], spread = run(given, levels, kind)
        found.models[run.name] = run.spec(given.pixels.shape[-1])
        found.spreads |= {} if spread is None else {run.name: spread}
    for method, output in found.outputs.items():
        found.scores[method] = scores_of(found, output, protocol.border, protocol.jpeg, protocol.extra)
    return found


def _coloured(image: NDArray[Any], protocol: _Protocol) -> NDArray[Any]:
    if not protocol.gray or image.shape[-1] == 1:
        return image
    return luma8(image) if protocol.jpeg and image.dtype == np.uint8 else gray(image)


def _fitting(truth: NDArray[Any], given: NDArray[Any], scale: int) -> NDArray[Any]:
    """Crop the truth, from its first pixel, to the region that the input shows."""
    height, width = (n * scale for n in given.shape[:2])
    if truth.shape[0] < height or truth.shape[1] < width or truth.shape[2] != given.shape[2]:
        raise RequestError(
            f"an input of shape {given.shape} at scale {scale} does not belong to a truth of shape {truth.shape}."
        )
    return truth[:height, :width]

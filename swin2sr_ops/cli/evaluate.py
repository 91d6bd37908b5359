"""Run ``swin2sr-ops evaluate``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from swin2sr_ops.errors import FormatError, OutputError, RequestError
from swin2sr_ops.evaluate import Evaluation, Measured, evaluate
from swin2sr_ops.evaluate.calibrate import Calibrator, coverage_of, left_out
from swin2sr_ops.evaluate.maps import Maps
from swin2sr_ops.evaluate.request import cases_of
from swin2sr_ops.evaluate.sheet import Sheet
from swin2sr_ops.io.output.side_files import check_side_file, is_within, json_has
from swin2sr_ops.pixels.intensity import RangeRequest
from swin2sr_ops.pixels.intervals import Calibration, read_calibration
from swin2sr_ops.placement import Placement
from swin2sr_ops.weights.qualities import views_of

__all__ = ["main"]


def main(args: argparse.Namespace) -> int:
    """Measure, print tables, and write the requested files."""
    _check_files(args)
    sheet = Sheet(args.sheet) if args.sheet else None
    observers: list[Callable[[Measured], None]] = [x for x in (sheet, args.fidelity and Maps(args.fidelity)) if x]
    calibrator = None
    if args.calibrate or args.calibration:
        calibrator = _calibrator(args)
    observers += [] if calibrator is None else [calibrator]
    known = read_calibration(args.calibration) if args.calibration else None
    if known is not None:
        _check_units(args, known)
    if not args.quiet:
        observers.append(_Telling())

    def on_image(measured: Measured) -> None:
        for observer in observers:
            observer(measured)
        if calibrator is not None and calibrator.spec is not None and known is not None:
            ran = _placement(args)
            known.check_made_for(args.calibration, calibrator.spec, ran.ensemble, ran.consistent)

    found = evaluate(args.model or ["auto"], args.data, on_image=on_image, **_request(args))
    if sheet is not None:
        sheet.save()
    _tell(args, found)
    if calibrator is not None:
        _calibrate(args, calibrator, known, found)
    return 0


def _calibrator(args: argparse.Namespace) -> Calibrator:
    """Return the calibrator, after checking all that can be known before the work."""
    calibrator = Calibrator(fit_truth=args.fit_truth, group=args.group)
    cases, _ = cases_of(Path(args.data), args.scale, args.degrade, args.inputs, not args.no_truth)
    names = [case.name for case in cases[: args.limit]]
    calibrator.check(len(args.model or ["auto"]), names, truth=not args.no_truth)
    return calibrator


def _check_units(args: argparse.Namespace, known: Calibration) -> None:
    """Refuse a calibration whose errors are in another unit than those of this measurement."""
    if known.fitted_truth and not args.fit_truth:
        raise RequestError(
            f"{args.calibration!r} was made with --fit-truth, and this measurement has none: their errors are in"
            " different units. Give --fit-truth."
        )
    if args.fit_truth and not known.fitted_truth:
        raise RequestError(
            f"{args.calibration!r} was made without --fit-truth, and this measurement has it: their errors are in"
            " different units. Leave out --fit-truth, or calibrate with it."
        )


def _calibrate(args: argparse.Namespace, calibrator: Calibrator, known: Calibration | None, found: Evaluation) -> None:
    """Print the coverage of a calibration on these images, and write a new one, as asked for."""
    say = partial(print, file=sys.stderr if args.json == "-" else sys.stdout)  # stdout is one JSON value
    if calibrator.other_units:
        gains = [gain for gain, _ in calibrator.other_units.values()]
        say(
            f"note: the inputs of {len(gains)} pairs are {min(gains):.2f} to {max(gains):.2f} times their truths, plus"
            " an offset: their files were scaled apart, and that counts as error. --fit-truth fits it away."
        )
    if known is not None:
        held = coverage_of(known, calibrator.patches)
        parts = (f"{percent} %: {share:.1f} %" for percent, share in held.items())
        say(f"intervals of {args.calibration} hold, of {len(calibrator.patches)} patches: {', '.join(parts)}")
    if args.calibrate:
        spec, ran = calibrator.spec, _placement(args)
        assert spec is not None  # each image has one
        made = calibrator.fit(
            model=spec.name, weights=spec.sha256, ensemble=ran.ensemble, consistent=ran.consistent,
            data=Path(args.data).name, degrade=str(found.protocol["degrade"]),
        )  # fmt: skip
        made.write(args.calibrate)
        offered = ", ".join(f"{percent} %" for percent in made.scale)
        say(f"{args.calibrate}: calibrated on {len(calibrator.patches)} patches, for intervals of {offered}")
        unseen = left_out(calibrator)
        if unseen:
            shares = (f"{p} %: {np.mean(v):.1f} % ({min(v):.1f} to {max(v):.1f})" for p, v in unseen.items())
            say(f"left out in turn, {len(next(iter(unseen.values())))} groups of images hold: {', '.join(shares)}")


def _placement(args: argparse.Namespace) -> Placement:
    """Return what a calibration states: the weights of a kernel's file, the views of a word such as `best`."""
    asked = Placement(ensemble=args.ensemble, consistent=args.consistent)
    return asked.with_views(views_of((args.model or ["auto"])[0]))


def _request(args: argparse.Namespace) -> dict[str, Any]:
    given = {
        "scale": args.scale,
        "degrade": args.degrade,
        "inputs": args.inputs,
        "truth": not args.no_truth,
        "gray": args.gray,
        "baseline": args.baseline,
        "metrics": None if args.metrics is None else [name.strip() for name in args.metrics.split(",")],
        "border": args.border,
        "data_range": _data_range(args.data_range),
        "limit": args.limit,
        "padding": args.padding,
    }
    names = ("range", "halo", "tile", "device", "precision")
    more = {name: getattr(args, name) for name in ("ensemble", "engine", "consistent")}
    given |= {name: value for name, value in more.items() if value is not None}
    return given | {name: getattr(args, name) for name in names}


def _data_range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    found = RangeRequest.parse(text)
    if found.kind != "fixed":
        raise RequestError(f"--data-range {text} is not valid: give two ascending numbers, such as 0,4095.")
    return found.low, found.high


def _check_files(args: argparse.Namespace) -> None:
    """Detect before the work what would fail after it, or would replace another file."""
    kinds = (("table of figures", args.json, _is_table), ("calibration", args.calibrate, _is_calibration))
    for what, name, is_own in kinds:
        if name in (None, "-"):
            continue
        if not Path(name).absolute().parent.is_dir():
            raise OutputError(f"There is no folder for the file {name!r}.")
        check_side_file(Path(name), what, is_own)
    named = [os.path.realpath(name) for name in (args.json, args.calibrate, args.sheet) if name not in (None, "-")]
    if len(set(named)) < len(named):
        raise RequestError("--json, --calibrate and --sheet write different files: give each a name of its own.")
    if args.calibrate and args.calibration and is_within(args.calibrate, args.calibration):
        raise OutputError(f"{args.calibrate!r} is the calibration to measure with: write the new one elsewhere.")
    for images in (args.data, args.inputs):
        if args.fidelity and images and is_within(args.fidelity, images):
            raise OutputError(
                f"The fidelity maps would lie among the images in {images!r}, and the next run would measure them:"
                " choose another folder."
            )


def _is_table(path: Path) -> bool:
    return json_has(path, "scale", "degrade", "border", "padding")


def _is_calibration(path: Path) -> bool:
    try:
        read_calibration(path)
    except FormatError:
        return False
    return True


def _tell(args: argparse.Namespace, found: Evaluation) -> None:
    if args.json == "-":
        print(json.dumps(found.to_dict()))
        return
    if args.json is not None:
        try:
            Path(args.json).write_text(json.dumps(found.to_dict(), indent=1) + "\n", encoding="utf-8")
        except OSError as exc:
            raise OutputError(f"{args.json!r} cannot be written: {exc}.") from exc
    print(found.markdown() if args.markdown else found)


class _Telling:
    """Print a line on stderr for each finished image."""

    def __init__(self) -> None:
        self._began, self._done = time.monotonic(), 0

    def __call__(self, measured: Measured) -> None:
        self._done += 1
        seconds = time.monotonic() - self._began
        print(f"{self._done}: {measured.name} ({seconds:.0f} s)", file=sys.stderr, flush=True)

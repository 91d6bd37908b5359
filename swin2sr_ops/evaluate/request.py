"""Validate the request of an evaluation before anything is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path

from swin2sr_ops.errors import RequestError
from swin2sr_ops.evaluate.data import Case, find_cases
from swin2sr_ops.evaluate.degrade import Degradation
from swin2sr_ops.evaluate.report import COLUMNS, unknown
from swin2sr_ops.evaluate.restoring import Restoring

__all__ = ["cases_of", "check_request"]


def check_request(
    runs: list[Restoring], scale: int, metrics: Sequence[str] | None, border: int | None, limit: int | None
) -> None:
    """Reject options of an evaluation that fit neither each other nor any image, with one sentence."""
    if not runs:
        raise RequestError("No model was given to measure.")
    if len({run.name for run in runs}) < len(runs):
        raise RequestError(f"Models need different names, but two are called {[run.name for run in runs]}.")
    wrong = unknown(metrics or ())
    if wrong:
        raise RequestError(f"There is no figure called {', '.join(wrong)}: choose from {', '.join(COLUMNS)}.")
    if scale < 1 or (border is not None and border < 0) or (limit is not None and limit < 1):
        raise RequestError("scale and limit must be at least 1, and border at least 0.")


def cases_of(
    data: Path, scale: int, degrade: str | None, inputs: str | PathLike[str] | None, truth: bool
) -> tuple[list[Case], Degradation | None]:
    """Find the images and the degradation that makes their inputs; None if inputs are given."""
    steps = None if degrade is None else Degradation.parse(degrade)
    if steps is not None:
        steps.check(scale)
    if inputs is not None and (degrade is not None or not truth):
        raise RequestError("Given inputs are not made from clean images: omit degrade, and truth=False.")
    cases = find_cases(data, scale, inputs=None if inputs is None else Path(fspath(inputs)), make=steps is not None)
    if not truth:
        return [replace(case, truth=None, given=case.given or case.truth) for case in cases], steps
    if steps is None and cases[0].given is None:
        if scale == 1:
            raise RequestError(
                f"{str(data)!r} holds clean images only: choose how inputs are made, such as --degrade noise:25, "
                "or give them (--inputs)."
            )
        steps = Degradation.parse("bicubic")
    return cases, steps

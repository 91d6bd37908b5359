"""Compute the fingerprint of a run: a digest of everything that decides its result, and of nothing else.

A run resumes an unfinished output only if the fingerprints are equal, and leaves a finished one with the
same fingerprint alone. Tiles are part of it only if the result depends on them, torch's version only if torch
computes, and an option of the output only if it changes the file: a default that is given changes nothing. Chunks count
for an output that has them, and for an unfinished one; a finished TIFF or PNG does not show how it was staged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.hooks.builtin import format_options
from swin2sr_ops.io.base import json_ready
from swin2sr_ops.io.output.claim import STAGED, RunKey
from swin2sr_ops.io.output.options import FormatOption, decisive
from swin2sr_ops.io.storage.identity import identity_of, stamp_of
from swin2sr_ops.pixels.intervals import read_calibration
from swin2sr_ops.run.earlier import EarlierImage, digest_of
from swin2sr_ops.run.job import Job

__all__ = ["identity", "identity_digest", "input_stamp", "run_key", "torch_of"]

#: Increase it when the same settings give other pixels or another layout than before.
_RESULT_VERSION = 1

#: Options of the output that the run itself carries out: 90 is 90.0, and a calibration's content decides.
_OPTIONS = {
    "context": FormatOption(False, bool),
    "spread": FormatOption(False, bool),
    "labels": FormatOption("leave"),
    "calibration": FormatOption(None, lambda path: read_calibration(path).to_dict()),
    **dict.fromkeys(("interval", "limit", "noise"), FormatOption(None, float)),
}


def run_key(job: Job, output: Mapping[str, Any], *, restart: bool = False) -> RunKey:
    """Compute the key of ``job`` for an output with the options ``output``."""
    settings = settings_of(job)
    given = decisive(output, {**format_options(), **_OPTIONS})
    settings |= {f"output {name}": value for name, value in given.items()}
    settings = json_ready(settings)
    return RunKey(
        digest_of(settings),
        settings,
        restart,
        identity_digest(settings["source"]),
        earlier=EarlierImage(settings),
        file_fingerprint=digest_of({name: value for name, value in settings.items() if name not in STAGED}),
    )


def settings_of(job: Job) -> dict[str, Any]:
    """Collect all settings that decide the pixels, flat and JSON-ready."""
    info, restorer = job.source.info, job.restorer
    placed = restorer.network.placed()
    models = [one.spec for one in job.restorers]
    found: dict[str, Any] = {
        "result version": _RESULT_VERSION,
        "model": ",".join(spec.name for spec in models),
        "weights": ",".join(spec.sha256 for spec in models),
        "scale": job.plan.spec.scale,
        "halo": job.plan.placement.halo,
        "precision": ",".join(sorted({one.precision for one in job.restorers})),
        "device": placed.kind,
        "range": str(job.range),
        "nodata": _number(job.nodata),
        "axes": info.axes,
        "shape": list(info.shape),
        "dtype": str(info.dtype),
        "chunk": list(job.chunk),
        "shard": None if job.shard is None else list(job.shard),
        "source": identity(job),
    }
    if torch := torch_of(job):
        found["torch"] = torch
    foreign = [part.plan for part in job.parts if part.restorer is not None and part.plan.spec.reach is not None]
    if foreign:
        found["cells"] = [_cells(plan) for plan in foreign]
    if placed.engine != "torch":
        found["engine"] = placed.engine
    if restorer.placement.ensemble > 1:
        found["ensemble"] = restorer.placement.ensemble
    if restorer.placement.consistent is not None:
        found["consistent"] = restorer.placement.consistent
    if job.neighbours_along is not None:
        found["along"] = job.neighbours_along
    if job.order.alpha is not None or any(part.restorer is None for part in job.parts):
        found["opacity"] = "0 hides colours"
    if job.plan.placement.halo != "exact" and len(foreign) < len(models):
        found["tile"] = list(job.plan.tile)
    return found


def _number(value: float | None) -> float | None:
    """Return equal numbers in one form: a file may say 0.0 where a request says 0."""
    return int(value) if value is not None and float(value).is_integer() else value


def torch_of(job: Job) -> str:
    """Return the version of torch where pixels are computed; empty if it computes none of them."""
    return ",".join(sorted({one.network.placed().torch for one in job.restorers} - {""}))


def _cells(plan: TilePlan) -> dict[str, int]:
    """Describe the cells of a plugin's network: they decide the last bit, and more if it sees beyond its halo."""
    spec = plan.spec
    assert spec.reach is not None
    return {"side": plan.cell, "halo": spec.reach.halo, "multiple": spec.reach.multiple, "window": spec.window}


def identity(job: Job) -> dict[str, Any]:
    """Return the identity of the input and of its mask, which a later run compares; JSON-ready."""
    found = {"image": identity_of(job.source)}
    if job.mask is not None:
        found["mask"] = identity_of(job.mask)
    ready: dict[str, Any] = json_ready(found)
    return ready


def identity_digest(found: Mapping[str, Any]) -> str:
    """Return a digest of the result of `identity`, as an output stores it."""
    return digest_of(found)


def input_stamp(job: Job) -> str:
    """Return a text that changes whenever a file of the input, or of its mask, is touched."""
    stamps = [stamp_of(source) for source in (job.source, job.mask) if source is not None]
    return " ".join(stamps).strip()

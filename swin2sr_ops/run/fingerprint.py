"""Compute the fingerprint of a run: a digest of everything that decides its result, and of nothing else.

A run resumes an unfinished output only if the fingerprints are equal, and leaves a finished one with the
same fingerprint alone. Tiles are part of it only if the result depends on them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from swin2sr_ops.engine.devices import torch_version
from swin2sr_ops.geometry.plan import TilePlan
from swin2sr_ops.io.base import json_ready
from swin2sr_ops.io.geo.creation import canonical
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.io.storage.identity import identity_of, stamp_of
from swin2sr_ops.pixels.intervals import read_calibration
from swin2sr_ops.run.job import Job

__all__ = ["identity", "identity_digest", "input_stamp", "run_key"]

#: Increase it when the same settings give other pixels or another layout than before.
_RESULT_VERSION = 1


def run_key(job: Job, output: Mapping[str, Any], *, restart: bool = False) -> RunKey:
    """Compute the key of ``job`` for an output with the options ``output``."""
    settings = settings_of(job)
    given = {name: value for name, value in sorted(output.items()) if value is not None and name != "inner"}
    given |= {name: float(given[name]) for name in ("interval", "limit", "noise") if name in given}  # 90 is 90.0
    if "creation" in given:  # another spelling, or a default value, is no other run
        given["creation"] = canonical(given["creation"])
        if not given["creation"]:
            del given["creation"]
    settings |= {f"output {name}": value for name, value in given.items()}
    if "calibration" in given:  # its content decides, wherever it lies
        settings["output calibration"] = read_calibration(output["calibration"]).to_dict()
    settings = json_ready(settings)
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    return RunKey(digest, settings, restart, identity_digest(settings["source"]))


def settings_of(job: Job) -> dict[str, Any]:
    """Collect all settings that decide the pixels, flat and JSON-ready."""
    info, restorer = job.source.info, job.restorer
    placed = restorer.network.placed()
    models = [one.spec for one in job.restorers]
    found: dict[str, Any] = {
        "result version": _RESULT_VERSION,
        "torch": torch_version(),
        "model": ",".join(spec.name for spec in models),
        "weights": ",".join(spec.sha256 for spec in models),
        "scale": job.plan.spec.scale,
        "halo": job.plan.placement.halo,
        "precision": ",".join(sorted({one.precision for one in job.restorers})),
        "device": placed.kind,
        "range": str(job.range),
        "nodata": job.nodata,
        "axes": info.axes,
        "shape": list(info.shape),
        "dtype": str(info.dtype),
        "chunk": list(job.chunk),
        "source": identity(job),
    }
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
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()


def input_stamp(job: Job) -> str:
    """Return a text that changes whenever a file of the input, or of its mask, is touched."""
    stamps = [stamp_of(source) for source in (job.source, job.mask) if source is not None]
    return " ".join(stamps).strip()

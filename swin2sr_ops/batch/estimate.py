"""Estimate the cost of a batch before anything runs: pixels, bytes, memory, time."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swin2sr_ops.batch import probe as this_process
from swin2sr_ops.batch.collect import Entry, named
from swin2sr_ops.batch.cost import Estimate, ImagePlan
from swin2sr_ops.engine.restorer import Restorer
from swin2sr_ops.errors import FormatError, Swin2SROpsError, without_secrets
from swin2sr_ops.events import EstimateProgress, Progress
from swin2sr_ops.geometry.axes import channel_groups
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.io.storage.paths import local_path, without_separator
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.archive import archive_finished, archive_key
from swin2sr_ops.run.fingerprint import run_key
from swin2sr_ops.run.job import Job, Workers, prepare

if TYPE_CHECKING:
    from swin2sr_ops.cluster.executor import ClusterExecutor

__all__ = ["estimate", "network_pixels", "seconds_of"]

#: For each model in use, the number of pixels that its network computes.
Work = list[tuple[Restorer, float]]
#: Returns the pixels per second of a model's network.
Rate = Callable[[Restorer], float]

_PYRAMID = 4 / 3  # pixels of all levels relative to the full size, each level half the size of the previous


def estimate(
    entries: Sequence[Entry],
    request: RestoreRequest,
    *,
    probe: bool = True,
    pyramid: bool = True,
    progress: Progress | None = None,
    output_options: Mapping[str, Any] | None = None,
    counted: Callable[[Estimate], None] | None = None,
    executor: ClusterExecutor | None = None,
) -> Estimate:
    """Open every image once and add up the cost of restoring it.

    Parameters
    ----------
    entries : sequence of Entry
        From `collect`.
    request : RestoreRequest
        The same for all images.
    probe : bool
        Restore a small tile of noise per model to measure the time.
    pyramid : bool
        Whether outputs get a pyramid.
    progress : callable, optional
        Receives an `EstimateProgress` per image.
    output_options : mapping, optional
        Options of the outputs. If given, finished outputs are found and left out of the probe.
    counted : callable, optional
        Receives the estimate before the probe: everything but the time.
    executor : ClusterExecutor, optional
        Cluster that would restore the images: its workers resolve "auto" and run the probe.

    Returns
    -------
    Estimate
        An image that cannot be restored is listed with the reason.
    """
    images, works = [], []
    for done, entry in enumerate(entries, 1):
        image, work = _plan_of(entry, request, executor, pyramid, output_options)
        images.append(image)
        works.append(work)
        if progress is not None:
            progress(EstimateProgress(done=done, total=len(entries)))
    found = Estimate(images, _free(entries), "this device" if executor is None else "one of the workers")
    if counted is not None:
        counted(found)
    if not probe:
        return found
    rate = this_process.pixels_per_second if executor is None else _rate_on(executor)
    return replace(found, images=[_timed(image, work, rate) for image, work in zip(images, works, strict=True)])


def _plan_of(
    entry: Entry, request: RestoreRequest, workers: Workers | None, pyramid: bool, options: Mapping[str, Any] | None
) -> tuple[ImagePlan, Work]:
    """Plan one image without its time; return the plan and the work to measure."""
    try:
        kind, jobs, missing = _jobs_of(entry, request.for_image(**entry.options), workers)
        output = named(entry, next(iter(jobs.values())).restorer.spec.scale)
        finished = options is not None and _is_finished(output, kind, jobs, options)
        found = _add_up(entry, output, list(jobs.values()), pyramid)
    except Swin2SROpsError as exc:
        return ImagePlan(without_secrets(entry.source), entry.output, error=str(exc), note=entry.note), []
    except Exception as exc:  # noqa: BLE001  # one image may raise anything; only that image fails
        error = f"An unexpected {type(exc).__name__} ended its planning ({exc})."
        return ImagePlan(without_secrets(entry.source), entry.output, error=error, note=entry.note), []
    work = [] if finished else [each for job in jobs.values() for each in network_pixels(job)]
    return replace(found, kind=kind, missing=missing, finished=finished), work


def _timed(image: ImagePlan, work: Work, rate: Rate) -> ImagePlan:
    """Add the time to ``image``; if its model cannot be loaded, add the reason as its error."""
    if image.error:
        return image
    try:
        return replace(image, seconds=seconds_of(work, rate))
    except Swin2SROpsError as exc:
        return ImagePlan(image.source, image.output, error=str(exc), note=image.note)


def _jobs_of(
    entry: Entry, request: RestoreRequest, workers: Workers | None
) -> tuple[str, dict[str, Job], dict[str, str]]:
    """Return an archive's kind, jobs by path, and reasons of missing images; for an image, only its own job."""
    if not entry.collection:
        return "", {"": prepare(entry.source, request, workers=workers)}, {}
    from swin2sr_ops.io.zarr.collection import open_collection

    found = open_collection(entry.source)
    if found is None or not found.images:
        raise FormatError(f"{entry.source!r} contains no image.")
    jobs, missing = {}, dict(found.missing)
    for path in found.images:
        try:
            jobs[path] = prepare(entry.source, request.for_image(array=path), workers=workers)
        except Swin2SROpsError as exc:  # one bad image does not stop the rest of an archive
            missing[path] = str(exc)
    if not jobs:
        raise FormatError(f"None of its {len(missing)} images can be restored: {' '.join(next(iter(missing.items())))}")
    return found.kind, jobs, missing


def _is_finished(output: str, kind: str, jobs: Mapping[str, Job], options: Mapping[str, Any]) -> bool:
    """Return True if the same request has finished ``output``; if it cannot be read, the run reports that."""
    own = {name: value for name, value in options.items() if name != "allow_missing"}
    try:
        found = read_provenance(output) if output else None
        if found is None:
            return False
        keys = {path: run_key(job, own) for path, job in jobs.items()}
        return archive_finished(output, archive_key(keys, len(jobs))) if kind else keys[""].accepts(found)
    except (Swin2SROpsError, OSError):
        return False


def _add_up(entry: Entry, output: str, jobs: Sequence[Job], pyramid: bool) -> ImagePlan:
    first, name = jobs[0], without_separator(output.lower())
    levels = _PYRAMID if pyramid and not name.endswith(".png") else 1.0
    info = first.source.info
    models = dict.fromkeys(p.restorer.spec.name for job in jobs for p in job.parts if p.restorer is not None)
    output_bytes = int(sum(job.output.nbytes for job in jobs) * levels)
    return ImagePlan(
        without_secrets(entry.source),
        output,
        ", ".join(models),
        info.shape,
        info.axes,
        str(info.dtype),
        sum(job.source.info.nbytes // job.source.info.dtype.itemsize for job in jobs),
        sum(job.pixels for job in jobs),
        sum(job.count for job in jobs),
        output_bytes,
        max(part.plan.peak_bytes for job in jobs for part in job.parts),
        note=entry.note,
        # All formats but Zarr are encoded at the end from arrays of the same size.
        staged_bytes=0 if not name or name.endswith(".zarr") else output_bytes,
        count=len(jobs),
        alike=len({(job.source.info.shape, job.source.info.axes, job.source.info.dtype) for job in jobs}) == 1,
    )


def seconds_of(work: Iterable[tuple[Restorer, float]], rate: Rate | None = None) -> float:
    """Compute the time for `network_pixels` from a probe of this device, or from another ``rate``."""
    rate = this_process.pixels_per_second if rate is None else rate
    return sum(pixels / rate(restorer) for restorer, pixels in work)


def _rate_on(executor: ClusterExecutor) -> Rate:
    """Return the rate of all workers together, measured on one of them, once per model."""
    known: dict[bytes, float] = {}

    def rate(restorer: Restorer) -> float:
        key = pickle.dumps(restorer.bare())
        if key not in known:
            known[key] = executor.ask(_probe, restorer) * len(executor.computing())
        return known[key]

    return rate


def _probe(restorer: Restorer) -> float:
    """Measure a worker's rate; free the network afterwards, since no run may follow."""
    try:
        return this_process.pixels_per_second(restorer)
    finally:
        restorer.network.release()


def network_pixels(job: Job) -> Iterator[tuple[Restorer, float]]:
    """Count the pixels that the network of each model computes, halos of tiles included."""
    order = job.order
    for part in job.parts:
        if part.restorer is None:
            continue
        channels = part.restorer.spec.channels
        passes = job.planes * len(channel_groups(order.colours, channels))
        if part.groups is not None:
            bands = order.shape[order.axes.index("C")]
            passes = job.planes // bands * sum(len(channel_groups(len(g), channels)) for g in part.groups)
        yield part.restorer, passes * part.plan.height * part.plan.width * part.plan.over_compute


def _free(entries: Sequence[Entry]) -> int | None:
    path = local_path(entries[0].output) if entries and entries[0].output else None
    if path is None:
        return None
    there = Path(os.path.abspath(path))
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free

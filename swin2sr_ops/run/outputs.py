"""Handle the output of a run: finished before, resumable after an error, labels beside the image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from swin2sr_ops.errors import FormatError, OutputError, RequestError, Swin2SROpsError
from swin2sr_ops.io.base import ComposedSource, ImageSink
from swin2sr_ops.io.output.claim import RunKey, tidy_finished
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.io.output.staging import ResumableSink, Staging
from swin2sr_ops.io.storage.paths import local_path
from swin2sr_ops.pixels.intervals import Interval, read_calibration
from swin2sr_ops.run.job import Job

__all__ = ["check_not_behind", "finished_before", "interval_of", "label_options", "note_left_out", "resumable"]

_CARRIED = ("labels", "carry")


def finished_before(dst: str, key: RunKey) -> bool:
    """Return True if a run with this key has finished ``dst``; also remove the leftovers of that run."""
    try:
        found = read_provenance(dst)
    except FormatError:
        return False  # another file exists; the sink decides what to do with it
    if found is None or found.get("fingerprint") != key.fingerprint:
        return False
    tidy_finished(dst, key)
    return True


def check_not_behind(job: Job, dst: str) -> None:
    """Raise an error if ``dst`` is a file of the input, such as a raster in a VRT: inputs are never written."""
    path = local_path(dst)
    origin = local_path(job.source.uri)
    if path is None or not isinstance(job.source, ComposedSource) or not path.is_file():
        return
    if origin is not None and origin.is_dir():
        return  # no output lies in an input: the destination refuses it
    others = {os.path.realpath(name) for name in job.source.files()} - {os.path.realpath(origin or "")}
    if os.path.realpath(path) in others:
        raise OutputError(
            f"The input {job.source.uri!r} contains {dst!r}, which must not be changed. Choose another output."
        )


def label_options(job: Job, labels: str) -> dict[str, Any]:
    """Return the sink's options for the labels of the source: ``leave`` or ``carry``.

    Raises
    ------
    RequestError
        If the word is another one, or the source is not an OME-Zarr image.
    """
    if labels == "leave":
        return {}
    if labels != "carry":
        raise RequestError(f"labels={labels!r} is not valid: give 'leave' or 'carry'.")
    from swin2sr_ops.io.zarr.source import ZarrSource

    if not isinstance(job.source, ZarrSource):
        raise RequestError(f"labels='carry' needs an OME-Zarr image, but {job.source.uri!r} is not one.")
    return {"labels": (job.source.uri, job.source.path.rpartition("/")[0], job.plan.spec.scale)}


def note_left_out(job: Job, labels: str) -> None:
    """Warn of what lies beside an OME-Zarr image, or in its attributes, and does not come along."""
    from swin2sr_ops.io.zarr.beside import beside_image
    from swin2sr_ops.io.zarr.source import ZarrSource

    large = job.source.info.extra.get("attributes_left_out") or ()
    if large:
        warnings.warn(
            f"The attributes {', '.join(large)} are too large to be carried: the output will lack them.", stacklevel=3
        )
    source = job.source
    if not isinstance(source, ZarrSource) or source.group is None:
        return
    names = [n for n in beside_image(source.uri, source.group, source.storage_options) if (n, labels) != _CARRIED]
    if names:  # the same sentence for each image of a plate, so that it is said once
        remedy = ": labels='carry' (--labels carry) takes the labels." if "labels" in names else "."
        warnings.warn(f"Beside the image lie {', '.join(names)}, which the output will lack{remedy}", stacklevel=3)


def interval_of(job: Job, coverage: float | None, calibration: str | os.PathLike[str] | None) -> Interval | None:
    """Return the intervals that were asked for, if the calibration is one of the job's model.

    Raises
    ------
    RequestError
        One of the two is missing, or the calibration is of another model, ensemble or consistency.
    """
    if coverage is None and calibration is None:
        return None
    if coverage is None or calibration is None:
        raise RequestError(
            "Intervals need a coverage and a calibration: give interval=90 (--interval 90) and calibration=FILE"
            " (--calibration FILE), which `swin2sr-ops evaluate --calibrate FILE` writes."
        )
    found = read_calibration(calibration)
    for restorer in (part.restorer for part in job.parts if part.restorer is not None):
        asked = restorer.placement
        run = (restorer.spec.sha256, asked.ensemble, asked.consistent)
        if run != (found.weights, found.ensemble, found.consistent):
            raise RequestError(
                f"{os.fspath(calibration)!r} was made for {found.model!r} with ensemble={found.ensemble} and"
                f" consistent={found.consistent!r}, and this run has {restorer.spec.name!r}, ensemble={asked.ensemble}"
                f" and consistent={asked.consistent!r}: errors differ. Calibrate for this run, or choose the same."
            )
    return Interval.of(found, float(coverage))


@contextmanager
def resumable(sink: ImageSink, output: str) -> Iterator[None]:
    """After an error, keep the restored tiles for the next run; remove an output without any."""
    staging = sink.staging if isinstance(sink, ResumableSink) else None
    try:
        yield
    except BaseException as exc:
        # Ctrl-C, too.
        if staging is None or not (staging.resumed or _holds_pixels(staging)):
            _remove(sink, output, exc)
            raise
        lost = staging.claim.lost()
        staging.release()
        if lost and "(--restart)" not in str(exc) and isinstance(exc, Swin2SROpsError):
            raise OutputError(
                f"{exc} Another program has removed or emptied {staging.files.where!r} meanwhile: start anew with"
                " restart (--restart)."
            ) from exc
        if (
            isinstance(exc, Swin2SROpsError)
            and not lost
            and not any(words in str(exc) for words in ("same command", "(--restart)"))
        ):
            told = "Finished tiles are kept: the same command resumes the run."
            raise type(exc)(f"{exc} {told}") from exc
        raise


def _holds_pixels(staging: Staging) -> bool:
    try:
        return bool(staging.holds_pixels())
    except OutputError:
        return True  # the storage is unreachable: remove nothing there


def _remove(sink: ImageSink, output: str, exc: BaseException) -> None:
    try:
        sink.abort()
    except (OSError, OutputError) as left:
        exc.add_note(f"The written part of {output!r} could not be removed: {left}")

"""Handle the output of a run: finished before, resumable after an error, labels beside the image."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Any

from swin2sr_ops.errors import FormatError, OutputError, RequestError, Swin2SROpsError, without_secrets
from swin2sr_ops.hooks.dispatch import create_sink
from swin2sr_ops.io.base import (
    ClosableSource,
    ComposedSource,
    GroupSource,
    ImageSink,
    ImageSource,
    SidesSink,
    ValiditySink,
)
from swin2sr_ops.io.masks import EnlargedMask, has_mask
from swin2sr_ops.io.output.claim import RunKey, tidy_finished
from swin2sr_ops.io.output.destination import Destination
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.io.output.staging import ResumableSink, Staging
from swin2sr_ops.io.storage.paths import local_path
from swin2sr_ops.run.job import Job
from swin2sr_ops.run.sides import Sides

__all__ = ["check_inputs", "finished_before", "label_options", "opened_output"]

_CARRIED = ("labels", "carry")


def finished_before(dst: str, key: RunKey) -> str | None:
    """Return the fingerprint of ``dst`` if a run with this key has finished it; remove the leftovers of that run."""
    try:
        found = read_provenance(dst)
    except (FormatError, OSError):
        return None  # another file exists, or the place is closed; the sink says what is wrong with it
    if found is None or not key.accepts(found):
        return None
    tidy_finished(dst, key)
    return str(found["fingerprint"])


@contextmanager
def opened_output(
    job: Job, dst: str, sides: Sides, options: Mapping[str, Any], *, parallel: bool
) -> Iterator[ImageSink]:
    """Create the output of a job for the time of a run; close the input's files at the end.

    After an error, restored tiles stay for the next run, and an output without any is removed.

    Parameters
    ----------
    job : Job
    dst : str
    sides : Sides
        Arrays that the output stores beside the pixels.
    options : mapping
        Options of the format and of `swin2sr_ops.hookspecs.create_sink`.
    parallel : bool
        Whether several processes will write.

    Raises
    ------
    RequestError
        If the format cannot store what was asked for.
    OutputError
        If the output cannot be written, or is a file of the input.
    """
    check_inputs(dst, (*job.files, options.get("calibration")))
    for source in (job.source, job.mask):
        _check_not_behind(source, dst)
    sink = _sink(job, dst, sides, dict(options), parallel)
    try:
        with _resumable(sink, without_secrets(dst)):
            yield sink
    finally:
        for source in (job.source, job.mask):
            if isinstance(source, ClosableSource):  # a later read opens the files again
                source.close()


def _sink(job: Job, dst: str, sides: Sides, options: dict[str, Any], parallel: bool) -> ImageSink:
    """Create the sink of a job, with labels and masks if there are any; reject what its format cannot store."""
    labels = options.pop("labels", "leave")
    for name in ("context", "spread", "interval", "calibration", "limit", "noise"):
        options.pop(name, None)
    options |= label_options(job, labels) | dict.fromkeys(sides.names, True)
    _note_left_out(job, labels)
    sink = create_sink(
        dst,
        job.output,
        source=job.source.uri,
        chunks=job.chunk,
        shards=job.shard,
        parallel=parallel or None,
        **options,
    )
    if sides.names and not isinstance(sink, SidesSink):
        sink.abort()
        raise RequestError(f"The format of {dst!r} cannot store {sides.names[0]}: omit it, or write a Zarr.")
    if isinstance(sink, ValiditySink) and (job.mask is not None or has_mask(job.source)):
        sink.valid = EnlargedMask(job.source, job.mask, job.order, job.plan.spec.scale)
    return sink


def label_options(job: Job, labels: str) -> dict[str, Any]:
    """Return the sink's options for the labels of the source: ``leave`` or ``carry``.

    Raises
    ------
    RequestError
        If the word is another one, or the source has no labels of its own.
    """
    if labels == "leave":
        return {}
    if labels != "carry":
        raise RequestError(f"labels={labels!r} is not valid: give 'leave' or 'carry'.")
    if not isinstance(job.source, GroupSource):
        raise RequestError(f"labels='carry' needs an OME-Zarr image, but {job.source.uri!r} is not one.")
    return {"labels": (*job.source.group_address, job.plan.spec.scale)}


def _note_left_out(job: Job, labels: str) -> None:
    """Warn of what lies beside the image, or in its attributes, and does not come along."""
    large = job.source.info.extra.get("attributes_left_out") or ()
    if large:
        warnings.warn(
            f"The attributes {', '.join(large)} are too large to be carried: the output will lack them.", stacklevel=3
        )
    beside = job.source.beside() if isinstance(job.source, GroupSource) else ()
    names = [name for name in beside if (name, labels) != _CARRIED]
    if names:  # the same sentence for each image of a plate, so that it is said once
        remedy = ": labels='carry' (--labels carry) takes the labels." if "labels" in names else "."
        warnings.warn(f"Beside the image lie {', '.join(names)}, which the output will lack{remedy}", stacklevel=3)


def check_inputs(dst: str, files: Iterable[str | PathLike[str] | None]) -> None:
    """Raise an error if ``dst`` would replace one of the ``files`` that a request names, such as its mask."""
    destination = Destination.at(dst, remote=True)
    for name in files:
        if name is not None:
            destination.check_apart(fspath(name))


def _check_not_behind(source: ImageSource | None, dst: str) -> None:
    """Raise an error if ``dst`` is a file of the input, such as a raster in a VRT: inputs are never written."""
    path = local_path(dst)
    if path is None or not isinstance(source, ComposedSource) or not path.is_file():
        return
    origin = local_path(source.uri)
    if origin is not None and origin.is_dir():
        return  # no output lies in an input: the destination refuses it
    others = {os.path.realpath(name) for name in source.files()} - {os.path.realpath(origin or "")}
    if os.path.realpath(path) in others:
        raise OutputError(
            f"The input {source.uri!r} contains {dst!r}, which must not be changed. Choose another output."
        )


@contextmanager
def _resumable(sink: ImageSink, output: str) -> Iterator[None]:
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
            remedy = "Finished tiles are kept: the same command resumes the run."
            raise type(exc)(f"{exc} {remedy}") from exc
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

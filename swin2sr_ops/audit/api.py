"""Audit a restored image or archive: recompute some or all of its tiles, and compare them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath

from swin2sr_ops.audit.archive import ArchiveRecord
from swin2sr_ops.audit.confidence import by_image, draw
from swin2sr_ops.audit.image import AuditedImage, Given
from swin2sr_ops.audit.report import AuditReport
from swin2sr_ops.calls import path_of
from swin2sr_ops.errors import FormatError, ModelError, RequestError, Swin2SROpsError
from swin2sr_ops.io.zarr.collection import open_collection

__all__ = ["SAMPLE", "audit"]

#: Default number of recomputed tiles: if all are right, less than 1 % are wrong (95 % confidence).
SAMPLE = 300


def audit(
    output: str | PathLike[str],
    *,
    source: str | PathLike[str] | None = None,
    mask: str | PathLike[str] | None = None,
    model: str | PathLike[str] | None = None,
    sample: int | None = SAMPLE,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    engine: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Recompute tiles of a finished output, and compare them with the stored ones.

    Parameters
    ----------
    output : str or path
        OME-Zarr, plate or tree of images, COG, OME-TIFF or PNG, written by `swin2sr_ops.restore_image`; local or a URL.
    source, mask : str or path, optional
        Present location of the input and its mask; by default the location in the provenance.
    model : str or path, optional
        The weight file, if the model is not known by its name; two files with a comma, for a raster that was restored
        with two models. The SHA-256 must be the recorded one.
    sample : int or None
        Number of tiles to recompute, drawn at random; None for all.
    seed : int, optional
        Seed of the random draw; the same seed draws the same tiles.
    device, precision, engine : str, optional
        By default those of the run, if this machine has them. Otherwise pixels are compared within a bound.
    progress : callable, optional
        Called with the number of finished tiles and of all tiles.

    Returns
    -------
    AuditReport

    Raises
    ------
    Swin2SROpsError
        If the output has no provenance, the source cannot be opened, or the weights differ.

    Examples
    --------
    >>> found = audit("cells_x2.ome.zarr", sample=300)  # doctest: +SKIP
    >>> print(found.ok, found.statement)  # doctest: +SKIP
    """
    if sample is not None and sample < 1:
        raise RequestError(f"sample={sample} is not valid: give a number of tiles above 0, or None for all.")
    output = path_of(output, "The output")
    began = time.monotonic()
    report = AuditReport(fspath(output), seed=random.SystemRandom().randrange(2**32) if seed is None else seed)
    images = _images(report, Given(source, mask, model, device, precision, engine))
    report.total = sum(image.count for image in images)
    numbers = draw(report.total, sample, report.seed)

    def done() -> None:
        if progress is not None:
            progress(report.checked, len(numbers))

    for index, chosen in by_image(numbers, [image.count for image in images]):
        image = images[index]
        with _noting(image, report):
            image.check(chosen, report, done)
    report.seconds = time.monotonic() - began
    return report


#: Number of images up to which an audit keeps the metadata of all.
_KEPT = 5_000


def _images(report: AuditReport, given: Given) -> list[AuditedImage]:
    """Return all images of the output, with their tiles counted; record those that cannot be checked in the report."""
    collection = open_collection(report.output)
    if collection is None:
        image = AuditedImage(report.output, None, given)
        image.prepare()
        return [image]
    archive = ArchiveRecord.of(report.output)
    report.left_out = list(archive.left_out)
    report.missing |= {path: reason for path, reason in collection.missing if path not in archive.left_out}
    lost, notes = archive.lost(collection, given.source)
    report.missing |= {path: reason for path, reason in lost.items() if path not in report.missing}
    report.add((), notes)
    keep = len(collection.images) <= _KEPT
    images = [AuditedImage(report.output, path, given, keep, archive.source) for path in collection.images]
    for image in images:
        with _noting(image, report):
            image.prepare()
    if not lost and not any(image.count for image in images):
        reason = next(iter(report.missing.values()), "it contains no image.")
        raise FormatError(f"No image of {report.output!r} can be checked: {reason}")
    return images


@contextmanager
def _noting(image: AuditedImage, report: AuditReport) -> Iterator[None]:
    """Record an image of an archive that cannot be checked, and continue with the others; a wrong model is an error."""
    try:
        yield
    except Swin2SROpsError as exc:
        if image.path is None or isinstance(exc, ModelError):
            raise
        report.missing[image.name] = str(exc)

"""Restore the images of one Zarr into one Zarr: plates, series, and trees of groups."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from os import PathLike, fspath
from typing import Any

from swin2sr_ops.errors import ClusterError, FormatError, RequestError, Swin2SROpsError
from swin2sr_ops.events import Event, ImageEnd, ImageStart, Progress
from swin2sr_ops.io.output.claim import Claim, RunKey, tidy_finished
from swin2sr_ops.io.output.destination import Destination, is_disk_full
from swin2sr_ops.io.output.journal import OWN_FOLDER
from swin2sr_ops.io.output.provenance import read_provenance
from swin2sr_ops.io.storage.files import files_at
from swin2sr_ops.io.storage.paths import without_separator
from swin2sr_ops.io.zarr.collection import Collection, open_collection
from swin2sr_ops.io.zarr.groups import write_metadata
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.earlier import EarlierArchive, digest_of
from swin2sr_ops.run.fingerprint import run_key
from swin2sr_ops.run.job import Job, prepare
from swin2sr_ops.run.outputs import check_inputs
from swin2sr_ops.run.pipeline import Executor
from swin2sr_ops.run.relay import Relay, unforeseen
from swin2sr_ops.run.run import run

__all__ = ["ArchiveReport", "archive_finished", "archive_key", "run_collection"]

_SHOWN = 20


@dataclass
class ArchiveReport:
    """Report on the restoration of an archive.

    Attributes
    ----------
    source, output, model, fingerprint : str
    kind : str
        ``plate``, ``well``, ``series`` or ``tree``.
    state : {"done", "already", "failed"}
        ``failed``: images are missing, and the archive is kept unfinished.
    reason : str
        The first failed images and their reasons; ``failed`` lists all.
    images, pixels, tiles, resumed : int
        Restored images, output pixels and tiles; ``resumed`` counts the tiles of earlier runs.
    failed : dict
        Path and reason of each image that was not restored.
    """

    source: str
    output: str
    kind: str
    model: str = ""
    state: str = "done"
    reason: str = ""
    images: int = 0
    pixels: int = 0
    tiles: int = 0
    resumed: int = 0
    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    fingerprint: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the report's fields, JSON-ready."""
        return asdict(self)

    def __str__(self) -> str:
        failed = [f"{path}: {reason}" for path, reason in self.failed.items()]
        lines = [f"  {'failed' if self.state == 'failed' else 'left out'}: {line}" for line in failed[:_SHOWN]]
        if len(failed) > _SHOWN:
            lines.append(f"  ... and {len(failed) - _SHOWN} more")
        if self.state == "already":
            return "\n".join([f"{self.output}: already finished with the same settings", *lines])
        done = (
            f"{self.kind}, {_images(self.images)}, {self.pixels / 1e6:.2f} megapixels in {self.seconds:.1f} s,"
            f" model {self.model}"
        )
        if self.state == "done":
            return "\n".join([f"{self.output}: {done}", *lines])
        return "\n".join([f"{self.output} is not finished: {done}", *lines, self.advice])

    @property
    def advice(self) -> str:
        """Say what to do about images that failed."""
        if not self.images:
            return "No image could be restored. Run the same command to try again."
        others, them = ("other", "it") if len(self.failed) == 1 else (f"{len(self.failed)} others", "them")
        return (
            f"The restored part is kept ({_images(self.images)}). The same command tries the {others} again,"
            f" --allow-missing finishes without {them}."
        )


def run_collection(
    src: str | PathLike[str],
    dst: str | PathLike[str],
    request: RestoreRequest = RestoreRequest(),  # noqa: B008  (a frozen value)
    *,
    overwrite: bool = False,
    restart: bool = False,
    progress: Progress | None = None,
    executor: Executor | None = None,
    allow_missing: bool = False,
    **output: Any,
) -> ArchiveReport:
    """Restore every image of a Zarr into a Zarr of the same structure: plate in, plate out.

    Each image is a run of its own: an unfinished one is resumed, a finished one is left alone. The
    metadata above the images come last: until then the archive does not look finished.

    Parameters
    ----------
    src : str or path
        A plate, a series, or any tree of groups; local, or a URL.
    dst : str or path
        Ends with ``.zarr``.
    request : RestoreRequest
        The same for all images.
    overwrite, restart, progress, executor, output
        As in `swin2sr_ops.run.run`.
    allow_missing : bool
        Finish the archive without the images that cannot be restored. Otherwise the archive stays
        unfinished, and the same command tries them again.

    Raises
    ------
    Swin2SROpsError
        ``src`` is no archive, ``dst`` cannot be written, or the error would affect every image. One bad
        image does not stop the rest: the report names it.
    """
    began = time.monotonic()
    collection = open_collection(fspath(src))
    if collection is None:
        raise FormatError(f"{fspath(src)!r} is one image or not a Zarr: it contains no collection of images.")
    if not without_separator(fspath(dst)).lower().endswith(".zarr"):
        raise RequestError(f"{fspath(dst)!r} must end with .zarr, because {fspath(src)!r} holds many images.")
    if collection.left_out:
        warnings.warn(
            f"Beside its images, {collection.uri!r} contains {', '.join(collection.left_out)}:"
            " the output will lack them.",
            stacklevel=2,
        )
    archive = _Archive(collection, fspath(dst), request, dict(output), Relay.of(progress), executor)
    report = archive.run(overwrite=overwrite, restart=restart, allow_missing=allow_missing)
    report.seconds = time.monotonic() - began
    return report


@dataclass
class _Archive:
    collection: Collection
    dst: str
    request: RestoreRequest
    output: dict[str, Any]
    progress: Relay
    executor: Executor | None
    scale: int = 1
    sums: tuple[int, int] = (0, 0)  # output pixels and tiles of all images

    def run(self, *, overwrite: bool, restart: bool, allow_missing: bool) -> ArchiveReport:
        report = ArchiveReport(self.collection.uri, self.dst, self.collection.kind)
        report.failed = dict(self.collection.missing)
        key = self._key(report, restart=restart)
        report.fingerprint = key.fingerprint
        if not restart and archive_finished(self.dst, key):
            tidy_finished(self.dst, key)
            self._forget_journals()
            report.state, report.images = "already", len(self.collection.images)
            report.pixels, report.tiles = self.sums
            report.resumed = report.tiles
            return report
        destination = Destination.at(self.dst, overwrite=overwrite, remote=True)
        destination.check(self.collection.uri)
        check_inputs(self.dst, (*self.request.files, self.output.get("calibration")))
        claim = Claim(destination)
        claim.take(key)
        with _let_go(claim):
            restored = self._images(claim, report)
            self._finish(claim, restored, report, allow_missing=allow_missing)
        return report

    def _key(self, report: ArchiveReport, *, restart: bool) -> RunKey:
        keys: dict[str, RunKey] = {}
        for path in self.collection.images:
            try:
                job = self._prepare(path)
            except Swin2SROpsError as exc:
                report.failed[path] = str(exc)
                continue
            keys[path] = run_key(job, self.output)
            self.scale = job.plan.spec.scale
            self.sums = (self.sums[0] + job.pixels, self.sums[1] + job.count)
        if not keys:
            first = next(iter(report.failed.items()), ("", "it contains none"))
            raise FormatError(f"No image of {self.collection.uri!r} can be restored: {' '.join(first).strip()}")
        key = archive_key(keys, len(self.collection.images), restart=restart)
        report.model = str(key.settings["model"])
        return key

    def _prepare(self, path: str) -> Job:
        return prepare(self.collection.uri, self.request.for_image(array=path), workers=self.executor)

    def _images(self, claim: Claim, report: ArchiveReport) -> list[str]:
        restored = []
        for index, path in enumerate(self.collection.images):
            if path in report.failed:
                continue
            total = len(self.collection.images)
            self._tell(ImageStart(done=index, total=total, source=path, output=self.dst))
            try:
                self._one(claim, path, report)
            except Swin2SROpsError as exc:
                if isinstance(exc, ClusterError) or is_disk_full(exc):
                    raise  # it would end every further image, too
                report.failed[path] = str(exc)
            # An unforeseen error in one image is the failure of that image only.
            except Exception as exc:
                if exc is self.progress.raised or is_disk_full(exc):
                    raise
                logging.getLogger(__name__).debug("%s failed", path, exc_info=True)
                report.failed[path] = unforeseen(exc)
            else:
                restored.append(path)
            state = "failed" if path in report.failed else "done"
            reason = report.failed.get(path, "")
            end = ImageEnd(done=index + 1, total=total, source=path, output=self.dst, state=state, reason=reason)
            self._tell(end)
        return restored

    def _one(self, claim: Claim, path: str, report: ArchiveReport) -> None:
        place = f"{claim.files.where}/{path}"
        if claim.destination.path is not None:
            (claim.destination.partial / path).parent.mkdir(parents=True, exist_ok=True)
        if claim.resumed:
            Destination.at(place, remote=True, inner=True).reopen()
        done = run(
            self._prepare(path),
            place,
            anywhere=True,
            inner=True,
            progress=self.progress,
            executor=self.executor,
            **self.output,
        )
        report.images += 1
        report.pixels += done.pixels
        report.tiles += done.tiles
        report.resumed += done.resumed
        report.settings = done.settings

    def _finish(self, claim: Claim, restored: list[str], report: ArchiveReport, *, allow_missing: bool) -> None:
        if report.failed:
            first = [f"{path}: {reason.rstrip('.')}" for path, reason in list(report.failed.items())[:_SHOWN]]
            more = f"; and {len(report.failed) - _SHOWN} more" if len(report.failed) > _SHOWN else ""
            report.reason = "; ".join(first) + more + "."
        if report.failed and not (allow_missing and restored):
            report.state = "failed"
            report.reason += f" {report.advice}"
            return
        claim.check()
        own = {"model": report.model, "source": self.collection.uri, "fingerprint": report.fingerprint}
        missing = {"missing": sorted(report.failed)} if report.failed else {}
        write_metadata(
            claim.files,
            self.collection,
            restored,
            scale=self.scale,
            version=self.output.get("ngff", "0.5"),
            provenance=own | missing,
        )
        claim.destination.appear()
        self._forget_journals()

    def _forget_journals(self) -> None:
        """Remove the resume data of the images; the archive is complete."""
        for path in self.collection.images:
            files_at(f"{without_separator(self.dst)}/{path}/{OWN_FOLDER}").clear()

    def _tell(self, event: Event) -> None:
        self.progress(event)


def archive_key(keys: Mapping[str, RunKey], count: int, *, restart: bool = False) -> RunKey:
    """Compute the key of all images of an archive together.

    Parameters
    ----------
    keys : mapping
        Path and key of each image that can be opened; a damaged one may be repaired before the next run.
    count : int
        Number of images that the archive lists.
    """
    settings: dict[str, Any] = {"images": count}
    for key in keys.values():
        settings |= {k: v for k, v in key.settings.items() if k not in ("source", "shape", "axes", "dtype")}
    digest = digest_of({path: key.fingerprint for path, key in keys.items()})
    earlier = EarlierArchive({path: key.settings for path, key in keys.items()}, settings)
    return RunKey(digest, settings, restart, earlier=earlier)


def archive_finished(dst: str, key: RunKey) -> bool:
    """Return True if a run with this key has finished the archive ``dst``."""
    found = read_provenance(dst)
    if found is None or key.accepts(found):
        return found is not None
    if not isinstance(key.earlier, EarlierArchive):
        return False
    inside = ((path, read_provenance(f"{without_separator(dst)}/{path}")) for path in key.earlier.images)
    image = next((one for one in inside if one[1] is not None), None)
    return image is not None and key.accepts(found | {"image": image})


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n} images"


@contextmanager
def _let_go(claim: Claim) -> Iterator[None]:
    """Release the claim in any case, and keep what was written."""
    try:
        yield
    finally:
        claim.release()

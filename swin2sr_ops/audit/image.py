"""Recompute tiles of one image of an output, with the settings of its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import gcd
from os import PathLike, fspath

from swin2sr_ops.audit.compare import CheckSink
from swin2sr_ops.audit.placement import Agreement, placement_of
from swin2sr_ops.audit.record import Record, read_record
from swin2sr_ops.audit.report import AuditReport
from swin2sr_ops.audit.stored import Opened, opened_arrays
from swin2sr_ops.errors import FormatError, ModelError
from swin2sr_ops.hooks.dispatch import open_source, resolve_model
from swin2sr_ops.io.base import ClosableSource, ImageSource, Region
from swin2sr_ops.io.storage.paths import local_path
from swin2sr_ops.request import RestoreRequest
from swin2sr_ops.run.fingerprint import identity, identity_digest, torch_of
from swin2sr_ops.run.job import Job, Piece, prepare
from swin2sr_ops.run.pipeline import Here, TileWork
from swin2sr_ops.spec import ModelSpec
from swin2sr_ops.weights.qualities import is_quality, names_of_quality

__all__ = ["AuditedImage", "Given"]

#: Smallest side of a tile in input pixels, and the largest side that may result from whole chunks of the output.
_SIDE, _MOST = 256, 1024


@dataclass(frozen=True)
class Given:
    """Values from the caller that replace the provenance's."""

    source: str | PathLike[str] | None = None
    mask: str | PathLike[str] | None = None
    model: str | PathLike[str] | None = None
    device: str | None = None
    precision: str | None = None
    engine: str | None = None


@dataclass
class AuditedImage:
    """An image of the output; ``path`` is its path inside an archive.

    `prepare` reads metadata only. `check` recomputes tiles.

    Attributes
    ----------
    keep : bool
        Keep what `prepare` has opened for `check`, so that metadata are read once; an archive of very many images
        would take too much memory.
    source : str
        Location of the archive's input: its images lie at the same paths. Empty if the archive has no provenance.
    """

    output: str
    path: str | None
    given: Given
    keep: bool = True
    source: str = ""
    count: int = 0
    _job: Job | None = field(default=None, repr=False)
    _first: ImageSource | None = field(default=None, repr=False)
    _record: Record | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """The path; empty for a single image."""
        return self.path or ""

    @property
    def record(self) -> Record:
        """The provenance, read once."""
        if self._record is None:
            self._record = read_record(f"{self.output.rstrip('/')}/{self.path}" if self.path else self.output)
        return self._record

    @property
    def _source(self) -> str:
        """Location of the input."""
        return fspath(self.given.source or self.source or self.record.source)

    def prepare(self) -> Job:
        """Return the job of the run, with tiles for an audit.

        Raises
        ------
        Swin2SROpsError
            If the output has no provenance, the source cannot be opened, or the weights differ.
        """
        record, given = self.record, self.given
        settings, reading = record.settings, dict(record.settings.get("reading", {}))
        if "nodata" in reading:  # JSON has a name for NaN only
            reading["nodata"] = float(reading["nodata"])
        if self.path and (self.source or given.source is not None or "array" not in reading):
            reading["array"] = self.path  # archives have the structure of their sources
        request = RestoreRequest(
            model=_model(record, given.model),
            scale=int(settings["scale"]),
            halo=settings["halo"],
            tile=self._tile(),
            mask=given.mask or settings.get("mask"),
            ensemble=int(settings.get("ensemble", 1)),
            consistent=settings.get("consistent"),
            along=settings.get("along"),
            **placement_of(record, given.device, given.precision, given.engine),
            **reading,
        )
        try:
            job = prepare(self._source, request)
        except FormatError as exc:
            raise FormatError(f"{exc}{self._hint()}") from exc
        self.count = job.count
        _close(job)
        self._job = job if self.keep else None
        return job

    def check(self, numbers: Sequence[int], report: AuditReport, done: Callable[[], None]) -> None:
        """Recompute the tiles with these numbers, and record differences in the report; call ``done`` for each tile."""
        record, job = self.record, self._job or self.prepare()
        self._job = None  # nothing is needed after the check
        opened = self._opened(job)
        sink = self._sink(job, opened)
        self._note(job, sink, report)
        report.add(opened.faults, opened.notes)
        work = TileWork(job, record.maps, sink, record.sides(opened.sides))

        def count(_: Piece) -> None:
            report.checked += 1
            done()

        try:
            Here().tiles(work, map(job.piece, numbers), count)
        finally:
            _close(job)
            self._first = None
        report.inexact += sink.inexact
        report.differences += [difference for _, difference in sink.found]
        report.wrong += len({_owner(region, job) for region, _ in sink.found})

    def _hint(self) -> str:
        """Say which input of the provenance is not at its recorded place, if one is not."""
        recorded = self.source or self.record.source
        inputs = (
            ("source", None if self.given.source else recorded),
            ("mask", None if self.given.mask else self.record.settings.get("mask")),
        )
        for name, place in inputs:
            path = local_path(str(place)) if place else None
            if path is not None and not path.exists():
                return f" That is where the run found its {name}: give the present location with --{name} ({name}=)."
        return ""

    def _note(self, job: Job, sink: CheckSink, report: AuditReport) -> None:
        """Record in the report which weights, source and settings were compared."""
        record = self.record
        report.source, report.model = self._source, ",".join(record.models)
        report.agreement = str(sink.agreement)
        report.weights = "verified by SHA-256" if all(record.weights) else "not recorded"
        if report.source_identity == "other":
            return
        if not record.source_identity:
            report.source_identity = "not recorded"
        else:
            same = identity_digest(identity(job)) == record.source_identity
            report.source_identity = "same" if same else "other"

    def _whole(self) -> ImageSource:
        """Return the output's full level, opened once."""
        if self._first is None:
            found = self._stored()
            self._first = found if self.keep else None
            return found
        return self._first

    def _stored(self, path: str = "", level: int = 0) -> ImageSource:
        array = "/".join(part for part in (self.path, path) if part)
        return open_source(self.output, array=array or None, level=level or None)

    def _tile(self) -> int | tuple[int, int]:
        """Return a tile's sides in input pixels: whole chunks of the output, or the run's if they affect the result."""
        settings = self.record.settings
        if settings["halo"] != "exact":
            rows, columns = settings["tile"]
            return int(rows), int(columns)
        info, scale = self._whole().info, int(settings["scale"])
        rows, columns = (_side(info.chunks[info.axes.index(a)], scale) for a in "YX")
        return rows, columns

    def _opened(self, job: Job) -> Opened:
        uri = f"{self.output.rstrip('/')}/{self.path}" if self.path else self.output
        return opened_arrays(uri, self.name, self.record, self._whole(), job.output, self._stored)

    def _sink(self, job: Job, opened: Opened) -> CheckSink:
        maps = self.record.maps

        def width_of(region: Region) -> float:
            channel = job.order.channel
            number = 0 if channel is None or len(maps) == 1 else job.map_of(region[channel].start)
            return maps[number].width

        agreement = Agreement.of(self.record, job.restorer.network.placed(), torch_of(job))
        unit = (1,) * len(job.order.axes)
        levels, sides = opened.levels, opened.sides
        return CheckSink(self.output, job.output, unit, levels, sides, agreement, width_of, self.name)


def _model(record: Record, given: str | PathLike[str] | None) -> str | ModelSpec:
    """Return the run's model, or its two models with a comma, if the weights are those in the provenance.

    Raises
    ------
    ModelError
        If the model is unknown, or has other weights.
    """
    names = record.models if given is None else tuple(fspath(given).split(","))
    if len(names) != len(record.models):
        raise ModelError(f"{len(names)} models were given, but the run used {len(record.models)}: {record.models}.")
    specs = []
    for asked, recorded, digest in zip(names, record.models, record.weights, strict=True):
        name = recorded if is_quality(asked) and recorded in names_of_quality(asked) else asked
        try:
            spec = resolve_model(name)
        except ModelError as exc:
            raise ModelError(
                f"The run used the model {name!r} (SHA-256 of its weights: {digest[:12] or 'not recorded'}), which is"
                f" not known here: give its file with --model. {exc}"
            ) from exc
        if digest and spec.sha256 and spec.sha256 != digest:
            raise ModelError(
                f"The weights of {name!r} have the SHA-256 {spec.sha256[:12]}..., but the run used {digest[:12]}...:"
                " give the run's file with --model."
            )
        specs.append(spec if spec.sha256 else replace(spec, sha256=digest))
    return specs[0] if len(specs) == 1 else ",".join(names)


def _close(job: Job) -> None:
    """Close the files of a job; a later read opens them again."""
    for source in (job.source, job.mask):
        if isinstance(source, ClosableSource):
            source.close()


def _side(chunk: int, scale: int) -> int:
    """Return the side of a tile in input pixels, for chunks of ``chunk`` output pixels."""
    whole = chunk // gcd(chunk, scale)
    return _SIDE if whole > _MOST else whole * max(_SIDE // whole, 1)


def _owner(region: Region, job: Job) -> tuple[object, ...]:
    """Return a key of the tile that a block belongs to: bands that are restored together share a tile."""
    parts = [(part.start, part.stop) for part in region]
    if job.parts[0].groups is not None and job.order.channel is not None:
        parts[job.order.channel] = (job.map_of(region[job.order.channel].start), -1)
    return tuple(parts)

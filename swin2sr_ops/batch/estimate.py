"""What a batch would cost, before anything runs: pixels, bytes, memory, time."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from swin2sr_ops.axes import channel_groups
from swin2sr_ops.batch.collect import Entry, named
from swin2sr_ops.errors import FormatError, OutputError, Swin2SROpsError
from swin2sr_ops.io.base import json_ready, local_path
from swin2sr_ops.job import Job, prepare

__all__ = ["Estimate", "ImagePlan", "check_disk", "estimate", "network_pixels", "span_of_time", "summary"]

_PYRAMID = 4 / 3  # all levels of half the size, together
#: Share of the pixels' bytes that images of the kind take once compressed.
_COMPRESSED = 0.7
#: Below this share no image of the kind gets: it is refused, not warned about.
_LEAST = 0.5
_SHOWN = 20


@dataclass(frozen=True)
class ImagePlan:
    """What one image would cost; ``error`` says why it cannot be restored.

    Attributes
    ----------
    pixels_in, pixels_out : int
        Stored values of input and output.
    tiles : int
        Of all planes.
    output_bytes : int
        Not compressed, pyramid included.
    peak_bytes : int
        Memory of one tile at work.
    seconds : float or None
        From the probe; None without one.
    """

    source: str
    output: str = ""
    model: str = ""
    shape: tuple[int, ...] = ()
    axes: str = ""
    dtype: str = ""
    pixels_in: int = 0
    pixels_out: int = 0
    tiles: int = 0
    output_bytes: int = 0
    peak_bytes: int = 0
    seconds: float | None = None
    error: str = ""
    note: str = ""

    def __str__(self) -> str:
        if self.error:
            return f"{self.source}: cannot be restored. {' '.join(self.error.split())}"
        size = " x ".join(map(str, self.shape))
        goes = f" -> {self.output}" if self.output else ""
        return f"{self.source} ({self.axes} {size} {self.dtype}){goes}: {self.tiles} tiles"


@dataclass(frozen=True)
class Estimate:
    """What all images together would cost.

    Attributes
    ----------
    images : list of ImagePlan
    free_bytes : int or None
        Free disk where the outputs go; None where that is not known, as on object stores.
    """

    images: list[ImagePlan] = field(default_factory=list)
    free_bytes: int | None = None

    @property
    def good(self) -> list[ImagePlan]:
        """Images that can be restored."""
        return [image for image in self.images if not image.error]

    @property
    def bad(self) -> list[ImagePlan]:
        """Images that cannot."""
        return [image for image in self.images if image.error]

    @property
    def output_bytes(self) -> int:
        """Of all outputs, not compressed, pyramids included."""
        return sum(image.output_bytes for image in self.images)

    @property
    def pixels_out(self) -> int:
        """Output values of all images."""
        return sum(image.pixels_out for image in self.images)

    @property
    def seconds(self) -> float | None:
        """Time of the networks for all images; None where it was not probed."""
        known = [image.seconds for image in self.good]
        return None if None in known else sum(s for s in known if s is not None)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        totals = {
            "count": len(self.images),
            "bad": len(self.bad),
            "pixels_in": sum(image.pixels_in for image in self.images),
            "pixels_out": self.pixels_out,
            "tiles": sum(image.tiles for image in self.images),
            "output_bytes": self.output_bytes,
            "free_bytes": self.free_bytes,
            "peak_bytes": max((image.peak_bytes for image in self.images), default=0),
            "seconds": self.seconds,
        }
        result: dict[str, Any] = json_ready(totals | {"images": [asdict(image) for image in self.images]})
        return result

    def __str__(self) -> str:
        shown = [str(image) for image in self.good[:_SHOWN]]
        if len(self.good) > _SHOWN:
            shown.append(f"... and {len(self.good) - _SHOWN} more")
        return "\n".join([*shown, *(str(image) for image in self.bad), *summary(self)])


def summary(found: Estimate) -> Iterator[str]:
    """The totals of an estimate, a line each."""
    good = found.good
    cannot = f", {len(found.bad)} more cannot be restored" if found.bad else ""
    pixels_in, tiles = sum(image.pixels_in for image in good), sum(image.tiles for image in good)
    yield f"images      {len(good)}{cannot}"
    yield f"pixels      {pixels_in / 1e6:.2f} -> {found.pixels_out / 1e6:.2f} megapixels, {tiles} tiles"
    free = "free disk unknown" if found.free_bytes is None else f"{_size(found.free_bytes)} free"
    yield f"output      {_size(found.output_bytes)} not compressed, pyramids included; {free}"
    if good:
        yield f"memory      {_size(max(image.peak_bytes for image in good))} per tile at work"
    if found.seconds is not None:
        yield f"time        about {span_of_time(found.seconds)}, from a probe of this device"


def estimate(
    entries: Sequence[Entry],
    request: Mapping[str, Any],
    *,
    probe: bool = True,
    pyramid: bool = True,
    progress: Callable[[dict[str, Any]], None] | None = None,
) -> Estimate:
    """Open every image once and add up what restoring it would cost.

    Parameters
    ----------
    entries : sequence of Entry
        From `collect`.
    request : mapping
        Keyword arguments of `swin2sr_ops.job.prepare`.
    probe : bool
        Restore a small tile of noise per model, to tell the time.
    pyramid : bool
        Whether outputs get one.
    progress : callable, optional
        Gets ``{"kind": "estimate", "done": n, "total": n}`` per image.

    Returns
    -------
    Estimate
        An image that cannot be restored is in it with the reason.
    """
    images = []
    for done, entry in enumerate(entries, 1):
        images.append(_plan_of(entry, request, probe, pyramid))
        if progress is not None:
            progress({"kind": "estimate", "done": done, "total": len(entries)})
    return Estimate(images, _free(entries))


def _plan_of(entry: Entry, request: Mapping[str, Any], probe: bool, pyramid: bool) -> ImagePlan:
    try:
        jobs = [prepare(entry.source, **{**request, **entry.options, **image}) for image in _images_of(entry)]
        return _add_up(entry, jobs, probe, pyramid)
    except Swin2SROpsError as exc:
        return ImagePlan(entry.source, entry.output, error=str(exc), note=entry.note)


def _images_of(entry: Entry) -> list[dict[str, Any]]:
    """What chooses each image of an entry."""
    if not entry.collection:
        return [{}]
    from swin2sr_ops.io.collection import open_collection

    found = open_collection(entry.source)
    if found is None or not found.images:
        raise FormatError(f"{entry.source!r} holds no image.")
    return [{"array": path} for path in found.images]


def _add_up(entry: Entry, jobs: Sequence[Job], probe: bool, pyramid: bool) -> ImagePlan:
    first = jobs[0]
    output = named(entry, first.restorer.spec.scale)
    levels = _PYRAMID if pyramid and not output.lower().endswith(".png") else 1.0
    info = first.source.info
    return ImagePlan(
        entry.source,
        output,
        first.restorer.spec.name,
        info.shape,
        info.axes,
        str(info.dtype),
        sum(job.source.info.nbytes // job.source.info.dtype.itemsize for job in jobs),
        sum(job.pixels for job in jobs),
        sum(job.count for job in jobs),
        int(sum(job.output.nbytes for job in jobs) * levels),
        max(job.plan.peak_bytes for job in jobs),
        sum(_seconds(job) for job in jobs) if probe else None,
        note=entry.note,
    )


def _seconds(job: Job) -> float:
    from swin2sr_ops.batch.probe import pixels_per_second

    return sum(pixels / pixels_per_second(restorer) for restorer, pixels in network_pixels(job))


def network_pixels(job: Job) -> Iterator[tuple[Any, float]]:
    """Per model at work, how many pixels its network computes, surroundings of tiles included."""
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


# --- room on the disk -----------------------------------------------------------------------------


def _free(entries: Sequence[Entry]) -> int | None:
    path = local_path(entries[0].output) if entries and entries[0].output else None
    if path is None:
        return None
    there = Path(os.path.abspath(path))
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def check_disk(found: Estimate, *, overwrite: bool = False) -> str:
    """A warning where the outputs may not fit the disk, or nothing.

    What is there of them already, finished or half done, needs no room again.

    Raises
    ------
    OutputError
        Not even half of their bytes fit.
    """
    if found.free_bytes is None or found.output_bytes * _COMPRESSED <= found.free_bytes:
        return ""
    written = 0 if overwrite else sum(_written(image) for image in found.good)
    need = max(found.output_bytes - written, 0)
    told = f"the outputs take {_size(need)} before compression, and {_size(found.free_bytes)} are free on the disk"
    if need * _LEAST > found.free_bytes:
        raise OutputError(
            f"There is too little room: {told}. Free some, choose another place, or give --no-disk-check"
            " if you know that they compress well."
        )
    return f"{told}: it may become full." if need * _COMPRESSED > found.free_bytes else ""


def _written(image: ImagePlan) -> int:
    """Bytes of an output that need no room any more: all of a finished one, what there is of another."""
    path = local_path(image.output)
    if path is None:
        return 0
    if path.exists():
        return image.output_bytes
    partial = path.with_name(path.name + ".partial")
    files = (os.path.join(folder, name) for folder, _, names in os.walk(partial) for name in names)
    # Compressed chunks stand for more bytes than they have.
    return int(sum(os.path.getsize(name) for name in files) / _COMPRESSED)


def _size(n: int) -> str:
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"


def span_of_time(seconds: float) -> str:
    """``seconds`` for people."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 100 else f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"

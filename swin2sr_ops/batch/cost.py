"""Store the estimated cost of images, and format it for people."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from swin2sr_ops.io.base import json_ready

__all__ = ["Estimate", "ImagePlan", "counted", "measured", "size_of", "span_of_time", "summary"]

_SHOWN = 20
_SHOWN_MISSING = 5


@dataclass(frozen=True)
class ImagePlan:
    """Estimated cost of one image, or of one archive; ``error`` says why it cannot be restored.

    Attributes
    ----------
    model : str
        Name of the model; several names if bands are restored by several models.
    shape, axes, dtype
        Those of the image; for an archive, of its first image.
    pixels_in, pixels_out : int
        Number of stored values of input and output.
    tiles : int
        Number of tiles of all planes.
    output_bytes : int
        Uncompressed size, pyramid included.
    staged_bytes : int
        Uncompressed disk space needed beside the output while it is written.
    peak_bytes : int
        Memory that one tile needs.
    seconds : float or None
        Time by the probe; None without a probe.
    kind : str
        Kind of an archive, such as ``plate``.
    count : int
        Number of images that can be restored.
    alike : bool
        Whether all images of the archive have this shape, axes and dtype.
    missing : dict
        Path and reason of each image of an archive that cannot be restored.
    finished : bool
        Whether the output of the same request exists already: nothing is left to do.
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
    staged_bytes: int = 0
    kind: str = ""
    count: int = 1
    alike: bool = True
    missing: dict[str, str] = field(default_factory=dict)
    finished: bool = False

    def __str__(self) -> str:
        if self.error:
            return f"{self.source}: cannot be restored. {' '.join(self.error.split())}"
        what = f"{self.axes} {' x '.join(map(str, self.shape))} {self.dtype}"
        if self.kind:
            what = f"{self.kind} of {counted(self.count, 'image')}, {'each' if self.alike else 'the first'} {what}"
        goes = f" -> {self.output}" if self.output else ""
        state = "already finished with the same settings" if self.finished else counted(self.tiles, "tile")
        return "\n".join([f"{self.source} ({what}){goes}: {state}", *self._missing()])

    def _missing(self) -> Iterator[str]:
        for path, reason in list(self.missing.items())[:_SHOWN_MISSING]:
            yield f"  missing: {path}: {' '.join(reason.split())}"
        if len(self.missing) > _SHOWN_MISSING:
            yield f"  missing: ... and {len(self.missing) - _SHOWN_MISSING} more"


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of all images together.

    Attributes
    ----------
    images : list of ImagePlan
    free_bytes : int or None
        Free disk space at the outputs; None if unknown, as on object stores.
    probed : str
        Device or worker that the probe measured.
    """

    images: list[ImagePlan] = field(default_factory=list)
    free_bytes: int | None = None
    probed: str = "this device"

    @property
    def good(self) -> list[ImagePlan]:
        """Images that can be restored."""
        return [image for image in self.images if not image.error]

    @property
    def bad(self) -> list[ImagePlan]:
        """Images that cannot be restored."""
        return [image for image in self.images if image.error]

    @property
    def todo(self) -> list[ImagePlan]:
        """Images that can be restored and are not finished."""
        return [image for image in self.good if not image.finished]

    @property
    def missing(self) -> int:
        """Images of archives that cannot be restored."""
        return sum(len(image.missing) for image in self.good)

    @property
    def output_bytes(self) -> int:
        """Uncompressed size of all outputs, pyramids included."""
        return sum(image.output_bytes for image in self.images)

    @property
    def pixels_out(self) -> int:
        """Output values of all images."""
        return sum(image.pixels_out for image in self.images)

    @property
    def seconds(self) -> float | None:
        """Computing time of the networks for all images; None if it was not probed."""
        known = [image.seconds for image in self.good]
        return None if None in known or not known else sum(s for s in known if s is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that can be stored as JSON."""
        totals = {
            "count": sum(image.count for image in self.images),
            "bad": len(self.bad),
            "missing": self.missing,
            "finished": len(self.good) - len(self.todo),
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
    """Format the totals of an estimate, one line each; finished images count only in the line about images."""
    good, todo = found.good, found.todo
    counts = [str(sum(image.count for image in good))]
    if len(todo) < len(good):
        counts.append(f"{sum(image.count for image in good if image.finished)} of them already finished")
    if found.missing:
        counts.append(f"{found.missing} more missing in archives")
    if found.bad:
        counts.append(f"{len(found.bad)} more cannot be restored")
    yield f"images      {', '.join(counts)}"
    if not todo:
        return
    pixels_in, pixels_out = (sum(getattr(image, name) for image in todo) for name in ("pixels_in", "pixels_out"))
    tiles = counted(sum(image.tiles for image in todo), "tile")
    yield f"pixels      {pixels_in / 1e6:.2f} -> {pixels_out / 1e6:.2f} megapixels, {tiles}"
    free = "free disk unknown" if found.free_bytes is None else f"{size_of(found.free_bytes)} free"
    staged = max(image.staged_bytes for image in todo)
    more = f", {size_of(staged)} more until it is written" if staged else ""
    size = size_of(sum(image.output_bytes for image in todo))
    yield f"output      {size} not compressed, pyramids included{more}; {free}"
    yield f"memory      {size_of(max(image.peak_bytes for image in todo))} per tile at work"
    yield from _time(found)


def measured(found: Estimate, before: Estimate) -> Iterator[str]:
    """Format what a probe adds to the estimate ``before``: models that do not load, and the time."""
    known = {id(image) for image in before.bad}
    yield from (str(image) for image in found.bad if id(image) not in known)
    yield from _time(found)


def _time(found: Estimate) -> Iterator[str]:
    """Format the line about time, if it is known and something is left to do."""
    if found.seconds is not None and found.todo:
        yield f"time        about {span_of_time(found.seconds)}, from a probe of {found.probed}"


def counted(n: int, noun: str) -> str:
    """Format a number of things for people."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def size_of(n: int) -> str:
    """Format a number of bytes for people."""
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"


def span_of_time(seconds: float) -> str:
    """Format a duration for people."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes, hours = seconds / 60, seconds / 3600
    return f"{minutes:.0f} min" if minutes < 100 else f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"

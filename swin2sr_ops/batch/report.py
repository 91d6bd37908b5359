"""Report the results of a batch, for people and for programs."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from swin2sr_ops.batch.collect import Entry
from swin2sr_ops.batch.cost import counted
from swin2sr_ops.errors import OutputError, without_secrets
from swin2sr_ops.io.base import json_ready
from swin2sr_ops.io.geo.address import file_of
from swin2sr_ops.io.output.side_files import check_side_file, is_within, json_has
from swin2sr_ops.io.storage.moves import replacing
from swin2sr_ops.io.storage.paths import local_path, user_path
from swin2sr_ops.notebook import rows_table
from swin2sr_ops.request import RestoreRequest

__all__ = ["STATES", "BatchReport", "ImageResult", "check_report"]

#: States of an image: restored now, finished before, failed, never started, interrupted.
STATES = ("done", "already", "failed", "not started", "stopped")


@dataclass
class ImageResult:
    """Result of one image, or of one archive.

    Attributes
    ----------
    source, output : str
    state : str
        One of `STATES`.
    reason : str
        Why it failed.
    pixels, tiles, resumed : int
        Output pixels; tiles of all planes; tiles that an earlier run had finished.
    seconds : float
    model : str
    series : int or None
        Index of the image in a TIFF of several.
    settings : dict
        As in `swin2sr_ops.RunReport`.
    failed : dict
        For an archive: path and reason of each image that is not in the output.
    """

    source: str
    output: str
    state: str = "not started"
    reason: str = ""
    pixels: int = 0
    seconds: float = 0.0
    tiles: int = 0
    resumed: int = 0
    model: str = ""
    series: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Source, and the index of the image in it."""
        return self.source if self.series is None else f"{self.source} (series {self.series})"

    def take(self, made: Any) -> None:
        """Copy the report of an image's run, or of an archive's runs."""
        self.output, self.state = str(made.output), str(made.state)
        self.reason = str(getattr(made, "reason", ""))  # an archive may have failed partly
        self.failed = dict(getattr(made, "failed", {}))
        self.pixels, self.tiles, self.resumed = int(made.pixels), int(made.tiles), int(made.resumed)
        self.model, self.settings = str(made.model), dict(made.settings)


def _shown(value: Any) -> Any:
    """Remove the secrets of an address from a setting."""
    return without_secrets(value) if isinstance(value, str) else value


@dataclass(repr=False)
class BatchReport:
    """Results of all images of a batch."""

    images: list[ImageResult] = field(default_factory=list)
    seconds: float = 0.0
    model: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    stopped: bool = False

    @classmethod
    def of(cls, entries: Sequence[Entry], request: RestoreRequest | None = None) -> BatchReport:
        """Create the report of a batch that has not started."""
        images = [ImageResult(without_secrets(e.source), e.output, series=e.options.get("series")) for e in entries]
        asked = {} if request is None else vars(request)
        return cls(images, settings={name: _shown(value) for name, value in asked.items() if value is not None})

    @property
    def counts(self) -> dict[str, int]:
        """Number of images per state, for the states of `STATES` that occur."""
        found = Counter(image.state for image in self.images)
        return {state: found[state] for state in STATES if found[state]}

    @property
    def ok(self) -> bool:
        """True if every image is finished, by this run or before."""
        return set(self.counts) <= {"done", "already"}

    def to_dict(self) -> dict[str, Any]:
        """Return a dict that can be stored as JSON."""
        facts = {"state": "stopped" if self.stopped else "done" if self.ok else "failed", "counts": self.counts}
        result: dict[str, Any] = json_ready(facts | asdict(self))
        return result

    def __repr__(self) -> str:
        states = ", ".join(f"{n} {state}" for state, n in self.counts.items())
        return f"<BatchReport of {counted(len(self.images), 'image')}: {states or 'empty'}>"

    def _repr_html_(self) -> str:
        rows = [(i.source, i.output, i.state, f"{i.seconds:.1f}", i.reason) for i in self.images]
        return rows_table("Batch", ("source", "output", "state", "seconds", "reason"), rows)

    def __str__(self) -> str:
        failed = [image for image in self.images if image.state == "failed"]
        lines = [f"failed: {image.name}\n        {' '.join(image.reason.split())}" for image in failed]
        gaps = [image for image in self.images if image.failed and image.state != "failed"]
        lines += [
            f"left out: {counted(len(i.failed), 'image')} of {i.name}\n        {' '.join(i.reason.split())}"
            for i in gaps
        ]
        pixels = sum(image.pixels for image in self.images if image.state == "done")
        states = ", ".join(f"{n} {_WORDS[state]}" for state, n in self.counts.items())
        tried = set(self.counts) - {"already", "not started"}
        spent = f" in {self.seconds:.1f} s" if tried else ""
        rate = (
            f", {pixels / 1e6:.2f} megapixels ({pixels / 1e6 / self.seconds:.3f} Mpx/s)"
            if pixels and self.seconds
            else ""
        )
        resumed = sum(image.resumed for image in self.images if image.state == "done")
        kept = f", {resumed} tiles were there already" if resumed else ""
        return "\n".join([*lines, f"{counted(len(self.images), 'image')}: {states}{spent}{rate}{kept}"])

    def write(self, path: str | PathLike[str]) -> None:
        """Write the report as JSON, atomically: a concurrent reader sees the old or the new file, never a part.

        Raises
        ------
        OutputError
            If the file cannot be written, or exists and is not an earlier report.
        """
        target = Path(os.path.abspath(user_path(path)))
        check_side_file(target, "report", lambda path: json_has(path, "state", "counts", "images", "settings"))
        try:
            if target.exists() and not target.is_file():  # a device or a pipe must not be replaced
                target.write_text(json.dumps(self.to_dict(), indent=1), encoding="utf-8")
                return
            with replacing(target) as part, part.open("w", encoding="utf-8") as file:
                json.dump(self.to_dict(), file, indent=1)
        except OSError as exc:
            raise OutputError(f"The report {fspath(path)!r} cannot be written: {exc.strerror or exc}.") from exc


def check_report(path: str | PathLike[str], entries: Sequence[Entry]) -> None:
    """Refuse a report in the place of an input or output of the batch, or in one that is a folder.

    Raises
    ------
    OutputError
        If it is one; other files are protected when the report is written.
    """
    target = os.path.abspath(user_path(path))
    for entry in entries:
        origin = file_of(entry.source) or local_path(entry.source)
        if origin is not None and is_within(target, origin):
            raise OutputError(
                f"The report {fspath(path)!r} would change the input {without_secrets(entry.source)!r}: choose another"
                " name for it."
            )
        made = local_path(entry.output)
        if made is not None and any(_is_output(str(place), str(made), entry.ending) for place in _up(target)):
            raise OutputError(
                f"The report {fspath(path)!r} and an output have the same place: choose another name for the report."
            )


def _up(target: str) -> Iterator[Path]:
    yield Path(os.path.realpath(target))
    yield from Path(os.path.realpath(target)).parents


def _is_output(place: str, made: str, ending: str) -> bool:
    """Tell whether ``place`` is an output, or its folder while it is written; its name may depend on the scale."""
    place, made = place.removesuffix(".partial"), os.path.realpath(made)
    if not ending:
        return place == made
    return place.startswith(f"{made}_") and place.endswith(ending) and os.path.dirname(place) == os.path.dirname(made)


_WORDS = {
    "done": "restored",
    "already": "finished before",
    "failed": "failed",
    "not started": "not started",
    "stopped": "interrupted",
}

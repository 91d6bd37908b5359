"""Define typed progress events, which a run, an archive or a batch reports.

Every event has ``kind``, ``done`` and ``total``, so that a progress callable needs no class of this module::

    def show(event):
        print(event.kind, event.done, event.total)

Ignore unknown kinds: later versions may add new ones. The command line writes events as JSON lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

__all__ = [
    "EstimateProgress",
    "Event",
    "ImageEnd",
    "ImageStart",
    "PartEnd",
    "PartStart",
    "Progress",
    "PyramidProgress",
    "RangeProgress",
    "RunEnd",
    "RunStart",
    "StepDone",
    "TileDone",
]


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events.

    Attributes
    ----------
    kind : str
        A word for the event, the same as in the JSON lines of the command line.
    done, total : int
        Number of finished items, and of all items that the event counts.
    """

    kind: ClassVar[str] = ""
    done: int
    total: int


#: Receives each event, in the process that started the work.
Progress = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True)
class EstimateProgress(Event):
    """One more image of a batch was examined for the estimate of its cost."""

    kind: ClassVar[str] = "estimate"


@dataclass(frozen=True, kw_only=True)
class RangeProgress(Event):
    """One more region was read to find the intensity range."""

    kind: ClassVar[str] = "range"


@dataclass(frozen=True, kw_only=True)
class RunStart(Event):
    """The tiles of an image start; ``done`` of ``total`` tiles exist from an earlier run.

    Attributes
    ----------
    image : str
        The source, without secrets of its address.
    pixels : int
        Output values of the whole image.
    """

    kind: ClassVar[str] = "start"
    image: str = ""
    pixels: int


@dataclass(frozen=True, kw_only=True)
class TileDone(Event):
    """One more tile of one plane is written.

    Attributes
    ----------
    tile : str
        Its position in the input, ``y=0:512 x=0:512``.
    pixels : int
        Output values of this tile.
    """

    kind: ClassVar[str] = "tile"
    tile: str = ""
    pixels: int


@dataclass(frozen=True, kw_only=True)
class PyramidProgress(Event):
    """One more region of a smaller resolution level is written; ``level`` counts from 1."""

    kind: ClassVar[str] = "pyramid"
    level: int


@dataclass(frozen=True, kw_only=True)
class RunEnd(Event):
    """The output is finished; ``report`` is `RunReport.to_dict` of the run."""

    kind: ClassVar[str] = "end"
    report: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImageStart(Event):
    """An image of a batch starts; ``done`` images were processed before it.

    Attributes
    ----------
    source, output : str
    """

    kind: ClassVar[str] = "image"
    source: str
    output: str = ""


@dataclass(frozen=True, kw_only=True)
class ImageEnd(Event):
    """An image of a batch is processed, and counted in ``done``.

    Attributes
    ----------
    source, output : str
    state : str
        ``done``, ``already`` (finished by an earlier run), ``failed`` or ``stopped``.
    reason : str
        Reason for a failure.
    pixels : int
        Output values.
    seconds : float
    """

    kind: ClassVar[str] = "image end"
    source: str
    output: str = ""
    state: str
    reason: str = ""
    pixels: int = 0
    seconds: float = 0.0


class PartStart(ImageStart):
    """An image inside an archive starts; the archive is one image of a batch."""

    kind: ClassVar[str] = "part"


class PartEnd(ImageEnd):
    """An image inside an archive is processed; the archive is one image of a batch."""

    kind: ClassVar[str] = "part end"


@dataclass(frozen=True, kw_only=True)
class StepDone(Event):
    """A step of a training was done, of so many."""

    kind: ClassVar[str] = "step"

"""The three ways a whole layer is restored: what runs in the background, and the layers that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from swin2sr_ops import RunReport
from swin2sr_ops.hosting import Region, provenance_of
from swin2sr_ops_napari.background import Outcome
from swin2sr_ops_napari.canvas import Overview
from swin2sr_ops_napari.layer_run import Stop, Tell, check_memory, to_disk, to_memory
from swin2sr_ops_napari.layers import GROWING_MARK, LayerImage, appearance, describe, place, whole_place
from swin2sr_ops_napari.lazy import Restored, serve
from swin2sr_ops_napari.memory_io import ArraySource, Pyramid
from swin2sr_ops_napari.ranges import exact_maps
from swin2sr_ops_napari.request import Request
from swin2sr_ops_napari.served import Server
from swin2sr_ops_napari.stored import FileOf, file_of, levels_of

__all__ = ["Disk", "Lazy", "Memory", "Output", "title"]

#: Look of a layer that lies over its visible source.
_COVERING = {"blending": "translucent_no_depth", "opacity": 1.0}


def title(layer: Any, scale: int) -> str:
    """Name of the result layer."""
    return f"{layer.name} x{scale}" if scale > 1 else f"{layer.name} restored"


@dataclass
class Output:
    """A layer, a request, and what is to come of them; `work` runs in another thread, the rest in the window's."""

    layer: Any
    image: LayerImage
    request: Request

    #: Whether a result that was finished in the moment of a Cancel is kept.
    keeps = True

    def __post_init__(self) -> None:
        self.scale = self.request.spec(self.image).scale
        self.growing: Overview | None = None
        self.server: Server | None = None  # of a layer whose tiles come where one looks
        self.stands_in = True  # the layer is shown in place of its source
        self._first = self.layer.ndim, self.layer.rgb
        self._placed, self._looked = self._place_of(), appearance(self.layer)
        self._changed = False

    @property
    def name(self) -> str:
        """Name of the result."""
        return title(self.layer, self.scale)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result."""
        return self.image.order().scaled(self.scale)

    def work(self, tell: Tell, stop: Stop) -> Any:
        """Restore the image."""
        raise NotImplementedError

    def layers(self, outcome: Outcome) -> list[tuple[Any, dict[str, Any]]]:
        """Return the layers to add to the viewer at the end."""
        raise NotImplementedError

    def sources(self) -> list[Any]:
        """The layer that each of `layers` is of, for a whole result."""
        return [self.layer]

    def beside(self) -> list[tuple[Any, dict[str, Any]]]:
        """Return further layers of a whole result, which stand in for no other."""
        return []

    def show_growing(self) -> tuple[Any, dict[str, Any]] | None:
        """A picture of the result that grows, and what a layer of it must say."""
        if self.growing is None:
            return None
        step = self.growing.step
        spatial = self.image.axes.replace("S", "")
        if not self._alike:
            return None
        # Every step-th pixel stands for a square of them: its middle lies where theirs does.
        where = place(self.layer, [step / self.scale if a in "YX" else 1.0 for a in spatial], [0.0] * len(spatial))
        look = self._look() | _COVERING  # additive, it would be added to the visible source
        said = {"name": f"{self.name} (growing)", "multiscale": False, "metadata": {GROWING_MARK: True}}
        return self.growing.array, said | where | look

    def grown(self) -> bool:
        """Return True if tiles have been finished since the last call."""
        changed, self._changed = self._changed, False
        return changed

    def _grow(self, region: Region, block: NDArray[Any]) -> None:
        if self.growing is not None:
            self.growing.put(region, block)
            self._changed = True

    def _whole_place(self) -> dict[str, Any]:
        return self._place_of() if self._alike else self._placed

    def _look(self) -> dict[str, Any]:
        return appearance(self.layer) if self._alike else self._looked

    @property
    def _alike(self) -> bool:
        """False if the layer was given data of another kind since: place and look are those of the beginning then."""
        return (self.layer.ndim, self.layer.rgb) == self._first

    def _place_of(self) -> dict[str, Any]:
        return whole_place(self.layer, self.image.axes, self.scale)

    def _metadata(self, report: RunReport | None, **more: Any) -> dict[str, Any]:
        facts = provenance_of(report) if report is not None else {"model": self.request.spec(self.image).name}
        return {"swin2sr_ops": facts | {"layer": self.layer.name} | more}

    def _layer(self, levels: Sequence[Any], metadata: dict[str, Any], **more: Any) -> tuple[Any, dict[str, Any]]:
        multiscale = len(levels) > 1
        said = {"name": self.name, "multiscale": multiscale, "metadata": metadata}
        return (list(levels) if multiscale else levels[0]), said | self._whole_place() | self._look() | more


class Memory(Output):
    """A new layer in memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_memory(self.image.nbytes * self.scale**2)
        self.target = Pyramid(self.shape, self.image.axes, self.image.dtype)
        self.growing = Overview(self.shape, self.image.axes, self.image.dtype)

    def work(self, tell: Tell, stop: Stop) -> RunReport:
        """Fill the pyramid."""
        return to_memory(self.image, self.request, self.target, tell, stop, self._grow)

    def layers(self, outcome: Outcome) -> list[tuple[Any, dict[str, Any]]]:
        """The pyramid; where it was stopped, what is not done is 0."""
        if outcome.result is not None:
            return [self._layer(self.target.levels, self._metadata(outcome.result))]
        if self.growing is None or not self.growing.painted:
            return []
        return [
            self._layer(
                self.target.levels,
                self._metadata(None, unfinished=True),
                name=f"{self.name} (part)",
                **_COVERING,
            )
        ]


@dataclass
class Lazy(Output):
    """A layer that is restored where one looks.

    Attributes
    ----------
    point : sequence of float
        Pixel index that is shown, along each axis of the data.
    """

    point: Sequence[float] = ()
    keeps = False

    def work(self, tell: Tell, stop: Stop) -> Any:
        """Decide the intensity range, which may need a look at all pixels, and restore the smallest level."""
        maps = exact_maps(self.image, self.request, tell, stop)
        self.server = serve(
            self.request.seen(self.image), Restored(self.image, self.request.restorer(self.image), maps)
        )
        self.server.begin(self.point)
        return self.server.levels

    def layers(self, outcome: Outcome) -> list[tuple[Any, dict[str, Any]]]:
        """The lazy levels."""
        if outcome.result is None:
            return []
        return [self._layer(outcome.result, self._metadata(None, lazy=True, settings=self._settings()))]

    def _settings(self) -> dict[str, Any]:
        return {"halo": self.request.halo, "range": self.request.range, "device": self.request.device}


@dataclass
class Disk(Output):
    """An OME-Zarr on disk.

    Attributes
    ----------
    path : str
    overwrite : bool
        Whether another image there is replaced.
    siblings : sequence of layer
        Layers of other channels of the same file, which are restored with it.
    """

    path: str = ""
    overwrite: bool = False
    siblings: Sequence[Any] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.file: FileOf | None = None
        self.growing = Overview(self.shape, self.image.axes, self.image.dtype)
        self._finished: list[tuple[Any, dict[str, Any]]] = []
        self.beside_options: dict[str, Any] = {}  # of the format: what is written beside the pixels
        self._sources: list[Any] = [self.layer]

    def work(self, tell: Tell, stop: Stop) -> RunReport:
        """Write the output, or resume it; then open it."""
        self.file = file_of(self.layer, self.image)  # reads a few pixels: not in the window's thread
        uri = None if self.file is None else self.file.uri
        report = to_disk(
            self.image, self.request, self.path, tell, stop, self._seen,
            file=uri, overwrite=self.overwrite, **self.beside_options,
        )  # fmt: skip
        others = [other for other in map(self._sibling, self.siblings) if other is not None]
        self._finished = [self._of(self, report), *(self._of(other, report) for other in others)]
        self._sources = [self.layer, *(other.layer for other in others)]
        return report

    @property
    def command(self) -> str | None:
        """The command that starts or resumes the same run; None if the layer is of no file. Known during the run."""
        if self.file is None:
            return None
        return self.request.command(self.file.uri, self.path, self.image, self.beside_options)

    @property
    def resumable(self) -> bool:
        """True if a later run can verify that its input has the same pixels."""
        return self.file is not None or ArraySource("", self.image).recognisable

    def _seen(self, region: Region, block: NDArray[Any]) -> None:
        if self.file is None or self.file.channel is None:
            self._grow(region, block)
            return
        axis, wanted = self.file.source.info.axes.index("C"), self.file.channel
        if region[axis].start <= wanted < region[axis].stop:
            rest = tuple(part for i, part in enumerate(region) if i != axis)
            self._grow(rest, block.take(wanted - region[axis].start, axis))

    def layers(self, outcome: Outcome) -> list[tuple[Any, dict[str, Any]]]:
        """The finished file: a layer, or one for each channel that has a layer. Where it was stopped, what came."""
        if outcome.result is None:
            grown = self.show_growing() if self.growing is not None and self.growing.painted else None
            if grown is None:
                return []
            data, said = grown
            metadata = self._metadata(None, unfinished=True, path=self.path)
            return [(data, said | {"name": f"{self.name} (part)", "metadata": metadata})]
        return self._finished

    def sources(self) -> list[Any]:
        """The chosen layer, and those of other channels of the file."""
        return self._sources

    def _of(self, other: Disk, report: RunReport) -> tuple[Any, dict[str, Any]]:
        channel = None if other.file is None else other.file.channel
        levels = levels_of(self.path, other.image.axes, channel)
        return other._layer(levels, other._metadata(report, uri=self.path))

    def _sibling(self, layer: Any) -> Disk | None:
        """Another channel's layer of the same file, as if it had been chosen."""
        if self.file is None or self.file.channel is None or layer == self.layer:
            return None
        if getattr(layer.source, "path", None) != getattr(self.layer.source, "path", None):
            return None
        other = Disk(layer, describe(layer), self.request, self.path)
        other.file = file_of(layer, other.image)
        return other if other.file is not None and other.file.channel is not None else None

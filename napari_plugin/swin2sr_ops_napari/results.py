"""Result layers in the viewer: added once, in place of their sources, instead of earlier parts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.QtWidgets import QMainWindow

from swin2sr_ops_napari.background import Outcome
from swin2sr_ops_napari.outputs import Output
from swin2sr_ops_napari.presence import bring, make_current, take_away
from swin2sr_ops_napari.serving import Serving
from swin2sr_ops_napari.standin import covers

__all__ = ["Results"]


class Results:
    """Adds the layers of a run.

    Parameters
    ----------
    viewer : napari.Viewer
    failed : callable
        Receives an error of a layer whose tiles come where one looks.
    window : callable
        Returns the window, which such a layer's drawing belongs to.

    Attributes
    ----------
    adding : bool
        True while napari selects a new layer, which the person did not choose.
    """

    def __init__(
        self, viewer: Any, failed: Callable[[BaseException], None], window: Callable[[], QMainWindow | None]
    ) -> None:
        self._viewer, self._failed, self._window = viewer, failed, window
        self.adding = False
        self._parts: list[tuple[Any, Any]] = []
        self._pairs: list[tuple[Any, Any]] = []
        viewer.layers.events.removing.connect(self._removing)
        viewer.layers.events.removed.connect(self._removed)

    def disconnect_viewer(self) -> None:
        """Disconnect from the viewer."""
        events = self._viewer.layers.events
        for event, slot in ((events.removing, self._removing), (events.removed, self._removed)):
            with suppress(ValueError, RuntimeError, KeyError):
                event.disconnect(slot)

    def begin(self) -> None:
        """Forget the pairs of source and result that can be compared: new ones come."""
        self._pairs = []

    def add(self, data: Any, said: dict[str, Any], above: Any = None) -> Any:
        """Add a layer, directly ``above`` another one; the selection stays as it was."""
        self.adding = True
        try:
            return bring(self._viewer, self._window(), data, above, **said)
        finally:
            self.adding = False

    def take(self, output: Output, outcome: Outcome, growing: Any = None) -> bool:
        """Add what a run gives instead of its ``growing`` layer; return whether its layer was in the viewer already."""
        try:
            found = output.layers(outcome)
            if outcome.result is not None:
                return self._take_whole(output, outcome, found)
            for data, said in found:
                self._forget_parts([output.layer])
                if growing is not None and growing in self._viewer.layers and growing.data is data:
                    # It shows the same pixels. napari takes its time to remove a layer, and to add one.
                    growing.metadata, growing.name = said["metadata"], said["name"]
                    self._parts.append((output.layer, growing))
                    growing = None
                else:
                    self._parts.append((output.layer, self.add(data, said, output.layer)))
            return False
        finally:
            take_away(self._viewer, growing)

    def _take_whole(self, output: Output, outcome: Outcome, found: list[tuple[Any, dict[str, Any]]]) -> bool:
        if not output.stands_in:
            for data, said in found:
                self.add(data, said)  # on top of all: it is about what is seen
            self._serve(output)
            return False
        sources = output.sources()
        self._forget_parts(sources)
        known = False
        for source, (data, said) in zip(sources, found, strict=False):
            layer = self._there(said) if getattr(outcome.result, "state", "") == "already" else None
            known = known or layer is not None
            if layer is None:
                layer = self.add(data, said, source)
            if source in self._viewer.layers:
                # Additive, the source would shine through its result.
                if not covers(source):
                    source.visible = False
                self._pairs.append((source, layer))
        beside = [(data, said) for data, said in output.beside() if self._there(said) is None]
        for data, said in beside:
            self.add(data, said)
        if beside or not output.beside():
            self._serve(output)
        return known

    @property
    def comparable(self) -> bool:
        """True if the last result and its source are both in the viewer."""
        return any(self._both(pair) for pair in self._pairs)

    def compare(self, show_source: bool) -> None:
        """Show the sources of the last results instead of these, or these again."""
        for source, layer in filter(self._both, self._pairs):
            layer.visible = not show_source
            source.visible = show_source or covers(layer)

    def _serve(self, output: Output) -> None:
        if output.server is not None:
            Serving(self._viewer, output.server, self._failed, self._window())

    def _removing(self, _event: Any = None) -> None:
        with suppress(RuntimeError):  # the window is going
            make_current(self._window())

    def _removed(self, _event: Any = None) -> None:
        """Let go of layers that were removed: their pixels would stay in memory."""
        self._parts = [pair for pair in self._parts if self._both(pair)]
        self._pairs = [pair for pair in self._pairs if self._both(pair)]

    def _both(self, pair: tuple[Any, Any]) -> bool:
        return all(layer in self._viewer.layers for layer in pair)

    def _there(self, said: dict[str, Any]) -> Any:
        """The layer of the same file that is in the viewer already."""
        wanted = said["metadata"]["swin2sr_ops"]
        for layer in self._viewer.layers:
            own = layer.metadata.get("swin2sr_ops")
            if isinstance(own, dict) and all(own.get(key) == wanted.get(key) for key in ("uri", "layer")):
                return layer
        return None

    def _forget_parts(self, sources: list[Any]) -> None:
        """Remove the unfinished layers of earlier runs."""
        for source, part in self._parts:
            if source in sources:
                take_away(self._viewer, part)
        self._parts = [pair for pair in self._parts if pair[0] not in sources]

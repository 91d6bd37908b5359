"""Show one layer in place of another, and let it look the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["StandIn", "covers"]

_LOOK = ("contrast_limits", "gamma", "colormap", "opacity", "blending", "interpolation2d")
_COVERING = ("translucent", "translucent_no_depth", "opaque")


def covers(layer: Any) -> bool:
    """Return True if a layer with the appearance of ``layer`` hides the layers below it."""
    return str(layer.blending) in _COVERING and float(layer.opacity) == 1.0


class StandIn:
    """A layer that replaces its source on the screen.

    Where the layer covers its source, the source stays as it is. Where it would be added to it (additive blending,
    an opacity below 1), exactly one of the two is visible. Contrast, gamma, colormap, opacity and blending of the
    source reach the layer until the person changes the layer's own.

    Parameters
    ----------
    source, layer : napari.layers.Image
    changed : callable
        Called after a change of the source that decides whether the layer covers it.
    """

    def __init__(self, source: Any, layer: Any, changed: Callable[[], None]) -> None:
        self.source, self.layer, self._changed = source, layer, changed
        self._own: set[str] = set()
        self._busy = False
        self._ready, self._wanted = False, True
        self._hidden = False
        names = [name for name in _LOOK if not (layer.rgb and name in ("contrast_limits", "gamma", "colormap"))]
        self._wires = [(getattr(source.events, name), self._copier(name)) for name in names]
        self._wires += [(getattr(layer.events, name), self._marker(name)) for name in names]
        self._wires += [(source.events.visible, self._source_toggled), (layer.events.visible, self._layer_toggled)]
        for event, slot in self._wires:
            event.connect(slot)

    def set_ready(self, ready: bool) -> None:
        """Say whether the layer holds something to show; the source is shown until then."""
        self._ready = ready
        self._apply()

    def compare(self, show_source: bool) -> None:
        """Show the source instead, or the layer again."""
        self._wanted = not show_source
        self._apply()

    def end(self) -> None:
        """Stop following, and show the source again."""
        for event, slot in self._wires:
            with suppress(ValueError, RuntimeError, KeyError):
                event.disconnect(slot)
        self._wires = []
        if self._hidden:
            self._hidden = False
            self.source.visible = True

    def _apply(self) -> None:
        shown = self._ready and self._wanted
        with self._quietly():
            if not covers(self.layer):
                if shown == self.source.visible:
                    self.source.visible = not shown
                self._hidden = shown
            elif self._hidden:
                self.source.visible, self._hidden = True, False
            if self.layer.visible != shown:
                self.layer.visible = shown

    @contextmanager
    def _quietly(self) -> Iterator[None]:
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before

    def _copier(self, name: str) -> Callable[[Any], None]:
        def copy(_event: Any = None) -> None:
            if name in self._own:
                return
            with self._quietly():
                setattr(self.layer, name, getattr(self.source, name))
            if name in ("opacity", "blending"):
                self._changed()

        return copy

    def _marker(self, name: str) -> Callable[[Any], None]:
        def mark(_event: Any = None) -> None:
            if not self._busy:
                self._own.add(name)

        return mark

    def _source_toggled(self, _event: Any = None) -> None:
        if self._busy:
            return
        covered = covers(self.layer)
        # Hidden below its cover: the person wants neither. Otherwise the eye chooses between the two.
        self._wanted = bool(self.source.visible) if covered else not self.source.visible
        self._apply()

    def _layer_toggled(self, _event: Any = None) -> None:
        if self._busy:
            return
        self._wanted = bool(self.layer.visible)
        self._apply()

"""The line of plan before Restore: sizes at once, tiles and time from a thread."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from qtpy.QtCore import QObject, QTimer, Signal

from swin2sr_ops.errors import Swin2SROpsError
from swin2sr_ops_napari.choices import needs_download
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.mailbox import Mailbox
from swin2sr_ops_napari.memory_io import offer
from swin2sr_ops_napari.pace import span
from swin2sr_ops_napari.request import Request
from swin2sr_ops_napari.warm import load_torch

__all__ = ["Planner", "size_line"]

_SETTLE = 600  # ms after the last change


def _size(count: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}" if count < 10 * factor else f"{count / factor:.0f} {unit}"
    return f"{max(count / 1e3, 1):.0f} kB"


def size_line(image: LayerImage, scale: int, beside: int = 0) -> tuple[str, str]:
    """Return what is enlarged to what, and how much that takes; ``beside``: bytes beside each value of the result."""
    order = image.order()
    y, x = order.shape[order.y], order.shape[order.x]
    planes = 1
    for axis in order.planes:
        planes *= order.shape[axis]
    head = f"{y} x {x} \N{RIGHTWARDS ARROW} {y * scale} x {x * scale}" + (f", {planes} planes" if planes > 1 else "")
    return head, _size(image.nbytes // image.dtype.itemsize * (image.dtype.itemsize + beside) * scale**2)


@dataclass(frozen=True)
class _Wish:
    number: int
    image: LayerImage
    request: Request


class Planner(QObject):
    """Says what Restore would do, from the plan of the run itself.

    Sizes are known at once. Tiles and time need the device and a probe of the model, so they follow from a thread
    once the choices rest and the widget is on the screen.
    """

    said = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._wish: _Wish | None = None
        self._working = False
        self._mail = Mailbox(self._receive)
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(_SETTLE)
        self._settle.timeout.connect(self._begin)

    def show(
        self, image: LayerImage | None, request: Request | None, *, probe: bool, count: int = 1, beside: int = 0
    ) -> None:
        """Plan for these choices; ``count`` layers are restored, and ``beside`` bytes stored beside each value."""
        self._number += 1
        self._wish = None
        self._settle.stop()
        if image is None or request is None:
            self.said.emit("")
            return
        self._head, self._bytes = size_line(image, request.spec(image).scale, beside)
        if count > 1:
            self._head = f"{count} layers, the first {self._head}"
        self.said.emit(f"{self._head}, {self._bytes}")
        if probe and not needs_download(request.spec(image)):
            self._wish = _Wish(self._number, image, request)
            self._settle.start()

    def close(self) -> None:
        """Plan no more."""
        self._number += 1
        self._wish = None
        self._settle.stop()

    def _begin(self) -> None:
        if self._wish is None or self._working:
            return
        self._working = True
        threading.Thread(target=self._work, args=(self._wish,), name="swin2sr-plan", daemon=True).start()

    def _work(self, wish: _Wish) -> None:
        from swin2sr_ops.hosting import network_pixels, seconds_of

        answer: tuple[_Wish, int, float] | None = None
        try:
            load_torch()
            # Another name: the run's own address must stay free, since its name goes into the output.
            with offer(replace(wish.image, name=f"plan of {wish.image.name}")) as source:
                job = wish.request.job(source, wish.image)
            answer = wish, job.count, seconds_of(network_pixels(job))
        # The line is a service: what is wrong is said when a button is pressed.
        except (Swin2SROpsError, RuntimeError, OSError, MemoryError):
            answer = None
        self._mail.post(answer)

    def _receive(self, items: list[Any]) -> None:
        self._working = False
        for answer in items:
            if answer is not None and answer[0].number == self._number:
                _, tiles, seconds = answer
                counted = f"{tiles} tile{'s' if tiles > 1 else ''}"
                self.said.emit(f"{self._head}, {counted}, about {span(max(seconds, 1))}, {self._bytes}")
                return
        self._begin()  # another wish may have come meanwhile

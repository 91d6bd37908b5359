"""What a person sees of a run on standard error, and what Ctrl-C does to it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from tqdm import tqdm

from swin2sr_ops.cli.progress_json import json_line
from swin2sr_ops.events import Event, ImageEnd, ImageStart, PartEnd, PartStart, PyramidProgress, RunStart, TileDone

__all__ = ["Progress", "two_interrupts"]


class Progress:
    """Progress of one image, and of the batch it belongs to: pixels, rate, time left.

    Bars only where somebody looks (a terminal); of a batch, a line per image elsewhere.

    Parameters
    ----------
    enabled : bool
        Whether to show anything.
    pixels : int
        Output values of all images, where there are several: with them comes the time left for all.
    """

    def __init__(self, enabled: bool, pixels: int = 0) -> None:
        self.enabled = enabled
        self.seen = sys.stderr.isatty()
        self.bar: tqdm[Any] | None = None
        self.whole = self._bar(pixels, "all images") if enabled and pixels and self.seen else None
        self.counted = 0  # of the image under way

    def __call__(self, event: Event) -> None:
        """Show ``event``; leave out kinds that are not known here."""
        if self.enabled:
            show = getattr(self, f"_{event.kind.replace(' ', '_')}", None)
            if show is not None:
                show(event)

    def close(self) -> None:
        """End the bars; what was shown stays."""
        for bar in (self.bar, self.whole):
            if bar is not None:
                bar.close()
        self.bar = self.whole = None

    # --- events, by kind --------------------------------------------------------------------------

    def _estimate(self, event: Event) -> None:
        if self.seen and event.total > 10:
            end = "\n" if event.done == event.total else ""
            print(f"\rlooking at the images: {event.done}/{event.total} ", end=end, file=sys.stderr)

    def _range(self, event: Event) -> None:
        """A short image is looked at before a line could be read; of a long one it is told."""
        if self.seen and event.total > 10 and self.whole is None:
            print(f"\rlooking for the intensity range: {event.done}/{event.total} ", end="", file=sys.stderr)

    def _start(self, event: RunStart) -> None:
        done, total, pixels = event.done, event.total, event.pixels
        resumed = pixels * done // total if total else 0
        if done:
            self._say(f"going on: {done} of {total} tiles are there")
        if self.seen:
            self.bar = self._bar(pixels, "", resumed, leave=self.whole is None)
        self._skip(resumed)

    def _tile(self, event: TileDone) -> None:
        self.counted += event.pixels
        if self.bar is not None:
            self.bar.set_postfix_str(f"tile {event.done}/{event.total}", refresh=False)
            self.bar.update(event.pixels)
        if self.whole is not None:
            self.whole.update(event.pixels)

    def _pyramid(self, event: PyramidProgress) -> None:
        if self.bar is not None:
            self.bar.set_postfix_str(f"level {event.level}: {event.done}/{event.total}")

    def _end(self, event: Event) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _image(self, event: ImageStart) -> None:
        self.counted = 0
        if self.whole is not None:
            self.whole.set_description_str(f"image {event.done + 1}/{event.total}")

    def _image_end(self, event: ImageEnd) -> None:
        self._end(event)
        self._skip(max(event.pixels - self.counted, 0))  # finished by an earlier run
        if self.seen and event.state != "failed":
            return
        told = "failed" if event.state == "failed" else event.output
        told += " (finished before)" if event.state == "already" else f", {event.seconds:.1f} s"
        self._say(f"[{event.done}/{event.total}] {event.source}: {told}")

    def _part(self, event: PartStart) -> None:
        if self.whole is not None:
            self.whole.set_postfix_str(f"{event.source} ({event.done + 1}/{event.total})", refresh=False)

    def _part_end(self, event: PartEnd) -> None:
        self._end(event)
        if event.state == "failed" or not self.seen:
            self._say(f"  [{event.done}/{event.total}] {event.source}: {event.state}")

    # --- how it is shown --------------------------------------------------------------------------

    def _skip(self, pixels: int) -> None:
        """Count what an earlier run did, without counting it as speed."""
        self.counted += pixels
        if self.whole is not None and pixels:
            self.whole.initial += pixels
            self.whole.n += pixels
            self.whole.last_print_n += pixels
            self.whole.refresh()

    def _say(self, text: str) -> None:
        if self.seen:
            tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def _bar(self, pixels: int, name: str, initial: int = 0, *, leave: bool = True) -> tqdm[Any]:
        return tqdm(
            total=pixels, initial=initial, desc=name or None, unit="px", unit_scale=True, dynamic_ncols=True,
            file=sys.stderr, leave=leave,
        )  # fmt: skip


@contextmanager
def two_interrupts(*, as_json: bool = False) -> Iterator[None]:
    """Ctrl-C or SIGTERM once: `KeyboardInterrupt`, which lets tiles under way end. Twice: the process ends at once.

    What is finished is on the disk either way.
    """
    if threading.current_thread() is not threading.main_thread():  # only it may choose what signals do
        yield
        return
    pressed = 0

    def tell(text: str) -> None:
        os.write(2, (json_line("note", text=text) if as_json else f"\nswin2sr-ops: {text}\n").encode())

    def interrupt(number: int, _frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += 1
        if pressed > 1:
            tell("stopped now; the same command resumes the run")
            os._exit(130)
        what = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
        tell(f"stopping when the tiles under way are finished; {what} again stops now")
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

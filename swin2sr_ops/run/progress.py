"""Show a run's progress on standard error: bars for pixels, a line for each image of a batch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from swin2sr_ops.events import (
    Event,
    ImageEnd,
    ImageStart,
    PartEnd,
    PartStart,
    Progress,
    PyramidProgress,
    RunStart,
    TileDone,
)

if TYPE_CHECKING:
    from tqdm import tqdm

__all__ = ["ProgressBars", "observed"]


@contextmanager
def observed(progress: Progress | bool | None) -> Iterator[Progress | None]:
    """Yield the observer of a run: bars for True, until the context ends; None for False; else ``progress``."""
    if not isinstance(progress, bool):
        yield progress
        return
    bars = ProgressBars(progress, seen=True) if progress else None
    try:
        yield bars
    finally:
        if bars is not None:
            bars.close()


class ProgressBars:
    """Show the progress of one image, and of its batch: pixels, rate, time left.

    On a terminal it shows bars; elsewhere it prints one line per image of a batch.

    Parameters
    ----------
    enabled : bool
        True to show progress.
    pixels : int
        Output values of all images, if there are several; needed to show the time left for all.
    seen : bool, optional
        True if a user sees the bars; by default if standard error is a terminal. A notebook also shows bars.
    """

    def __init__(self, enabled: bool, pixels: int = 0, *, seen: bool | None = None) -> None:
        self.enabled = enabled
        self.seen = sys.stderr.isatty() if seen is None else seen
        self.bar: tqdm[Any] | None = None
        self.whole = self._bar(pixels, "all images") if enabled and pixels and self.seen else None
        self.counted = 0  # of the current image

    def __call__(self, event: Event) -> None:
        """Show ``event``; ignore unknown kinds."""
        if self.enabled:
            show = getattr(self, f"_{event.kind.replace(' ', '_')}", None)
            if show is not None:
                show(event)

    def close(self) -> None:
        """End the bars; what they show stays visible."""
        for bar in (self.bar, self.whole):
            if bar is not None:
                bar.close()
        self.bar = self.whole = None

    # --- events, by kind --------------------------------------------------------------------------

    def _estimate(self, event: Event) -> None:
        if self.seen and event.total > 10:
            end = "\n" if event.done == event.total else ""
            print(f"\rreading the images: {event.done}/{event.total} ", end=end, file=sys.stderr)

    def _range(self, event: Event) -> None:
        """Show the search for the range of a long image; a short search ends too soon to be read."""
        if self.seen and event.total > 10 and self.whole is None:
            print(f"\rcomputing the intensity range: {event.done}/{event.total} ", end="", file=sys.stderr)

    def _start(self, event: RunStart) -> None:
        done, total, pixels = event.done, event.total, event.pixels
        resumed = pixels * done // total if total else 0
        if done:
            self._say(f"resuming: {done} of {total} tiles are finished")
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
        result = "failed" if event.state == "failed" else event.output
        result += " (finished before)" if event.state == "already" else f", {event.seconds:.1f} s"
        self._say(f"[{event.done}/{event.total}] {event.source}: {result}")

    def _part(self, event: PartStart) -> None:
        if self.whole is not None:
            self.whole.set_postfix_str(f"{event.source} ({event.done + 1}/{event.total})", refresh=False)

    def _part_end(self, event: PartEnd) -> None:
        self._end(event)
        if event.state == "failed" or not self.seen:
            self._say(f"  [{event.done}/{event.total}] {event.source}: {event.state}")

    # --- output -----------------------------------------------------------------------------------

    def _skip(self, pixels: int) -> None:
        """Count pixels of an earlier run, without counting them as speed."""
        self.counted += pixels
        if self.whole is not None and pixels:
            self.whole.initial += pixels
            self.whole.n += pixels
            self.whole.last_print_n += pixels
            self.whole.refresh()

    def _say(self, text: str) -> None:
        if self.seen:
            from tqdm import tqdm

            tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def _bar(self, pixels: int, name: str, initial: int = 0, *, leave: bool = True) -> tqdm[Any]:
        from tqdm import tqdm  # not needed where no terminal shows bars

        return tqdm(
            total=pixels, initial=initial, desc=name or None, unit="px", unit_scale=True, dynamic_ncols=True,
            file=sys.stderr, leave=leave,
        )  # fmt: skip

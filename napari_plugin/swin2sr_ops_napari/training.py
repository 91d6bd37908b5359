"""Train a model on the noisy image of a layer. No Qt here: it runs in a worker thread."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from swin2sr_ops.errors import RequestError, Swin2SROpsError
from swin2sr_ops.hosting import train
from swin2sr_ops_napari.layer_run import Stop, Tell
from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.memory_io import ArraySource
from swin2sr_ops_napari.messages import Message

__all__ = ["METHODS", "Training", "load_optimisers"]

#: How a model learns from noisy images alone, in the words of the window.
METHODS = {
    "auto": "One image of each place",
    "repeats": "Frames that show the same place again",
    "neighbours": "Frames or planes that differ little",
}
#: Shipped models that training starts from, by channels.
_INIT = {1: "small-x1-camera", 3: "small-x1-rgb"}
#: Looks at the held-out part in one run; after five without a smaller risk it stops.
_LOOKS = 10


@dataclass(frozen=True)
class Training:
    """A training run of the window.

    Attributes
    ----------
    image : LayerImage
    path : str
        The model's file; ``.safetensors``.
    method : str
        One of `METHODS`.
    steps : int
    """

    image: LayerImage
    path: str
    method: str = "auto"
    steps: int = 1000

    def check(self) -> None:
        """Refuse before the work what would fail after it.

        Raises
        ------
        RequestError
            If the file has another ending, is there already, or has no folder.
        """
        target = Path(self.path)
        if target.suffix != ".safetensors":
            raise RequestError(f"The model's file {self.path!r} must end with .safetensors: name it so.")
        if target.exists():
            raise RequestError(f"{self.path!r} exists: choose another name for the model.")
        if not target.absolute().parent.is_dir():
            raise RequestError(f"There is no folder {str(target.parent)!r} for the model: choose another one.")

    def work(self, tell: Tell, stop: Stop) -> Message:
        """Train, write the model and its card; return what to say.

        Raises
        ------
        Stopped
            ``stop`` returned True; no file is written.
        Swin2SROpsError
            With a sentence.
        """
        load_optimisers()
        lines: list[str] = []
        colours = self.image.order().model_channels
        with tempfile.TemporaryDirectory() as folder, _in_words():
            trainer = train(
                noisy=self.method, data=ArraySource(f"The layer {self.image.name!r}", self.image), out=folder,
                init=_INIT[colours], channels=colours, name=Path(self.path).stem, export_to=self.path,
                steps=self.steps, save_every=max(self.steps // _LOOKS, 1),
                log=lines.append, progress=tell, stop=stop,
            )  # fmt: skip
        watch = trainer.watch
        learned = f"the risk on the part held out fell from {watch.first:.3g} to {watch.best:.3g}"
        if watch.keeps_first:
            learned = "nothing was surely learned, so the first weights are kept: 'More ...' says what may help"
        noisy = " The noise is structured, and this way keeps it." if _is_structured(lines, self.method) else ""
        return Message(f"{Path(self.path).stem} is trained and chosen in Restore; {learned}.{noisy}", "\n".join(lines))


def _is_structured(lines: list[str], method: str) -> bool:
    return method == "auto" and any("(structured noise)" in line for line in lines)


@contextmanager
def _in_words() -> Iterator[None]:
    """Name the ways to learn as the window does, in errors that name options of the command line."""
    try:
        yield
    except Swin2SROpsError as exc:
        text = re.sub(r"--noisy (\w+)", lambda found: f"'{METHODS.get(found[1], METHODS['auto'])}'", str(exc))
        raise type(exc)(text) from exc


def load_optimisers() -> None:
    """Import what torch's optimisers import, without Triton.

    Triton and the OpenGL of Mesa, which draws napari's canvas on many Linux computers, each bring an LLVM of their own
    into the process: the second one crashes it. Torch looks for Triton when an optimiser is first used, and trains
    without it.
    """
    if sys.platform != "linux" or {"triton", "torch._dynamo"} & sys.modules.keys():
        return
    sys.modules["triton"] = None  # type: ignore[assignment]  # Python's way to say that a module is not there
    try:
        import torch._dynamo  # noqa: F401
    finally:
        del sys.modules["triton"]

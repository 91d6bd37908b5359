"""Answer the form's questions from what is measured in the image: noise, JPEG blocks, sharpness. No Qt here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from swin2sr_ops_napari.layers import LayerImage
from swin2sr_ops_napari.memory_io import offer
from swin2sr_ops_napari.messages import Message, in_words
from swin2sr_ops_napari.quality import TASKS, answers

if TYPE_CHECKING:
    from swin2sr_ops.hosting import AdviceReport

__all__ = ["Choice", "advised", "choice"]


@dataclass(frozen=True)
class Choice:
    """Answers for the form, None where no model fits, and the reason."""

    task: str | None
    quality: str | None
    range: str | None
    message: Message


def advised(image: LayerImage) -> AdviceReport:
    """Measure samples of a layer."""
    from swin2sr_ops.hosting import advise

    with offer(image) as source:
        return advise(source)


def choice(report: AdviceReport) -> Choice:
    """Translate a recommendation into the form's answers."""
    advice, more = report.advice, in_words(str(report))
    reason = in_words(advice.reasons[0]) if advice.reasons else ""
    found = _answer(advice.model)
    if found is None:
        return Choice(None, None, None, Message(f"No model fits: {reason}", more))
    task, quality = found
    wanted = advice.options.get("--range")
    said = f"Chosen: {TASKS[task]}, {quality}. {reason}"
    if wanted is not None:
        said += " A few pixels take up most of the intensity range: it leaves them out."
    return Choice(task, quality, wanted, Message(said, more))


def _answer(model: str | None) -> tuple[str, str] | None:
    """Return the answers that choose a model."""
    for task in TASKS:
        for answer in answers(task):
            if answer.ensemble == 1 and model in (answer.model(1), answer.model(3)):
                return task, answer.quality
    return None

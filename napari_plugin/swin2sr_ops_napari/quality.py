"""Answer "what to do" and "how well" with a shipped model: the core's words `fast`, `good` and `best`. No Qt."""

from __future__ import annotations

from dataclasses import dataclass

from swin2sr_ops.hosting import model_of_quality, views_of

__all__ = ["QUALITIES", "TASKS", "Answer", "answers"]

#: Tasks in the words of the form.
TASKS = {"x2": "Enlarge twice", "x4": "Enlarge four times", "x1": "Clean noise and compression"}
#: Qualities in the words of the form.
QUALITIES = {"fast": "fast", "good": "good", "best": "best (eight views averaged, eight times slower)"}


@dataclass(frozen=True)
class Answer:
    """The model of a task and quality."""

    quality: str
    scale: int

    @property
    def ensemble(self) -> int:
        """How many mirrored and rotated views are averaged."""
        return views_of(self.quality)

    def model(self, colours: int) -> str:
        """Name of the model for images of ``colours`` channels: 3 for RGB, else 1."""
        return model_of_quality(self.quality, self.scale, colours)


def answers(task: str) -> tuple[Answer, ...]:
    """Return what there is for a task, the fastest first; without a fast model that is the good one."""
    scale = int(task.removeprefix("x"))
    found = tuple(Answer(quality, scale) for quality in QUALITIES)
    return found[1:] if found[0].model(1) == found[1].model(1) else found

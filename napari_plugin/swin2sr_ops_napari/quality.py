"""Answer "what to do" and "how well" with a shipped model. No Qt, and no torch.

The one table that ties words to models; it can move into the core as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["QUALITIES", "TASKS", "Answer", "answers"]

#: Tasks in the words of the form.
TASKS = {"x2": "Enlarge twice", "x4": "Enlarge four times", "x1": "Clean noise and compression"}
#: Qualities in the words of the form.
QUALITIES = {"fast": "fast", "good": "good", "best": "best (eight views averaged, eight times slower)"}


@dataclass(frozen=True)
class Answer:
    """The model of a task and quality; ``ensemble`` is how many mirrored and rotated views are averaged."""

    quality: str
    family: str
    ensemble: int = 1

    def model(self, colours: int) -> str:
        """Name of the model for images of ``colours`` channels: 3 for RGB, else 1."""
        return f"{self.family}-{'rgb' if colours == 3 else 'gray'}"


_TABLE = {
    "x2": (Answer("fast", "nano-x2"), Answer("good", "small-x2"), Answer("best", "small-x2", 8)),
    # One shipped network enlarges four times: there is nothing faster to offer.
    "x4": (Answer("good", "tiny-x4"), Answer("best", "tiny-x4", 8)),
    "x1": (Answer("fast", "tiny-x1"), Answer("good", "small-x1"), Answer("best", "small-x1", 8)),
}


def answers(task: str) -> tuple[Answer, ...]:
    """Return what there is for a task, the fastest first."""
    return _TABLE[task]

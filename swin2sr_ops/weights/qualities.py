"""Name models by quality: ``fast``, ``good`` and ``best`` stand for a shipped model and a number of views.

The one table that ties these words to models, for every host. ``auto`` is ``good``.

======  ===========================================================================================
word    meaning
======  ===========================================================================================
fast    the fastest shipped model of the scale
good    the best shipped model of the scale, in one pass
best    the same, as the mean of its results for all eight flips and rotations: eight times the work
======  ===========================================================================================
"""

from __future__ import annotations

from typing import Any

__all__ = ["QUALITIES", "is_quality", "model_of_quality", "names_of_quality", "views_of"]

#: The words, the fastest first.
QUALITIES = ("fast", "good", "best")

#: Scale -> word -> size of the network, the first part of a shipped model's name.
_SIZES = {
    2: {"fast": "nano", "good": "small", "best": "small"},
    4: {"fast": "tiny", "good": "small", "best": "small"},
    1: {"fast": "tiny", "good": "small", "best": "small"},
}
_VIEWS = {"best": 8}


def is_quality(model: Any) -> bool:
    """Return True if ``model`` is ``auto`` or one of `QUALITIES` rather than the name of a model or a file."""
    return isinstance(model, str) and model in ("auto", *QUALITIES)


def model_of_quality(quality: str, scale: int, channels: int) -> str:
    """Return the name of the shipped model for a word, a scale (1, 2 or 4) and 1 or 3 channels.

    Examples
    --------
    >>> model_of_quality("fast", 2, 1)
    'nano-x2-gray'
    """
    size = _SIZES[scale]["good" if quality == "auto" else quality]
    return f"{size}-x{scale}-{'rgb' if channels == 3 else 'gray'}"


def names_of_quality(quality: str) -> set[str]:
    """Return the names of all models that a word stands for, at any scale."""
    return {model_of_quality(quality, scale, channels) for scale in _SIZES for channels in (1, 3)}


def views_of(model: Any) -> int:
    """Return the number of views that a request for ``model`` averages: 8 for ``best``, alone or in a pair, else 1.

    Examples
    --------
    >>> views_of("best"), views_of("small-x2-gray")
    (8, 1)
    """
    words = [word.strip() for word in model.split(",")] if isinstance(model, str) else []
    return max((_VIEWS.get(word, 1) for word in words), default=1)

"""Draw the tiles that an audit recomputes, and compute what a clean sample proves."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from itertools import accumulate

__all__ = ["CONFIDENCE", "at_most_wrong", "by_image", "chance_to_miss", "draw", "statement"]

#: Confidence level of `statement`.
CONFIDENCE = 0.95


def draw(total: int, sample: int | None, seed: int) -> list[int]:
    """Return the numbers of the tiles to recompute, in ascending order: ``sample`` of ``total``, all equally likely.

    Parameters
    ----------
    total : int
        Number of tiles of the whole output.
    sample : int or None
        Number of tiles to draw; None for all.
    seed : int
        The same seed draws the same tiles.
    """
    if sample is None or sample >= total:
        return list(range(total))
    return sorted(random.Random(seed).sample(range(total), sample))  # noqa: S311  # a sample, no secret


def by_image(numbers: Sequence[int], counts: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """Split tile numbers of all images into (image, numbers in the image); images without tiles are omitted."""
    ends = list(accumulate(counts))
    found: dict[int, list[int]] = {}
    image = 0
    for number in sorted(numbers):
        while number >= ends[image]:
            image += 1
        found.setdefault(image, []).append(number - (ends[image] - counts[image]))
    yield from found.items()


def chance_to_miss(total: int, wrong: int, sample: int) -> float:
    """Return the probability that ``sample`` of ``total`` tiles, drawn without replacement, hold none of ``wrong``."""
    if wrong <= 0:
        return 1.0
    if sample + wrong > total:
        return 0.0
    lg = math.lgamma
    logarithm = lg(total - wrong + 1) - lg(total - wrong - sample + 1) - lg(total + 1) + lg(total - sample + 1)
    return math.exp(min(logarithm, 0.0))


def at_most_wrong(total: int, sample: int, confidence: float = CONFIDENCE) -> int:
    """Return how many of ``total`` tiles may be wrong if ``sample`` recomputed tiles were all right.

    A larger number would have been detected with a probability of at least ``confidence``.
    """
    low, high = 0, total - sample
    while low < high:
        middle = (low + high + 1) // 2
        if chance_to_miss(total, middle, sample) > 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low


def statement(total: int, sample: int) -> str:
    """State what follows if ``sample`` of ``total`` tiles were recomputed and all were right.

    Examples
    --------
    >>> statement(1_000_000, 300)
    'With 95 % confidence, less than 1 % of the 1,000,000 tiles are wrong.'
    >>> statement(40, 40)
    'All tiles were recomputed: none is wrong.'
    """
    if sample >= total:
        return "All tiles were recomputed: none is wrong."
    if not sample:
        return "No tile was recomputed: nothing is known."
    bound = 100 * (at_most_wrong(total, sample) + 1) / total
    return f"With {100 * CONFIDENCE:.0f} % confidence, less than {_up(bound)} % of the {total:,} tiles are wrong."


def _up(percent: float) -> str:
    """Format a percentage with two digits, rounded up, because the bound must hold."""
    digits = max(1 - math.floor(math.log10(percent)), 0)
    found = f"{math.ceil(percent * 10**digits - 1e-9) / 10**digits:.{digits}f}"
    return found.rstrip("0").rstrip(".") if digits else found

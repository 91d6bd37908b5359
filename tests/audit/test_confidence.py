"""Compare the probabilities that an audit states with simulated audits."""

from __future__ import annotations

import numpy as np
import pytest

from swin2sr_ops.audit.confidence import at_most_wrong, by_image, chance_to_miss, draw, statement


def test_a_changed_tile_is_found_as_often_as_stated() -> None:
    """One wrong tile, or a few, in an archive of 2,000: 200 audits each, of 300 tiles."""
    total, sample, audits = 2000, 300, 200
    rng = np.random.default_rng(0)
    for wrong in (1, 5, 20):
        bad = set(rng.choice(total, wrong, replace=False).tolist())
        found = sum(bool(bad & set(draw(total, sample, seed))) for seed in range(audits))
        stated = 1 - chance_to_miss(total, wrong, sample)
        deviation = np.sqrt(stated * (1 - stated) / audits)
        assert abs(found / audits - stated) <= 3 * deviation + 1 / audits, (wrong, found, stated)
    assert all(draw(total, None, seed) == list(range(total)) for seed in range(3))  # all: always


def test_the_statement_keeps_its_promise() -> None:
    """With one wrong tile more than a clean sample allows, at most 5 % of the samples are clean."""
    for total, sample in ((50, 10), (400, 59), (10**6, 300), (10**9, 1000)):
        most = at_most_wrong(total, sample)
        assert chance_to_miss(total, most + 1, sample) <= 0.05 < chance_to_miss(total, most, sample) + 1e-9


def test_probabilities_are_those_of_drawing_without_replacement() -> None:
    from math import comb

    for total, wrong, sample in ((10, 3, 4), (20, 1, 19), (7, 7, 1), (12, 0, 5), (9, 5, 5)):
        assert chance_to_miss(total, wrong, sample) == pytest.approx(comb(total - wrong, sample) / comb(total, sample))


@pytest.mark.parametrize(
    ("total", "sample", "said"),
    [
        (10**7, 300, "With 95 % confidence, less than 1 % of the 10,000,000 tiles are wrong."),
        (12, 12, "All tiles were recomputed: none is wrong."),
        (1000, 5, "With 95 % confidence, less than 45 % of the 1,000 tiles are wrong."),
        (10, 0, "No tile was recomputed: nothing is known."),
    ],
)
def test_words(total: int, sample: int, said: str) -> None:
    assert statement(total, sample) == said


def test_every_tile_is_as_likely_and_the_seed_repeats() -> None:
    seen = np.bincount([number for seed in range(600) for number in draw(30, 6, seed)], minlength=30)
    assert seen.min() > 80 and seen.max() < 165  # noqa: PT018
    assert draw(30, 6, 3) == draw(30, 6, 3) != draw(30, 6, 4)
    assert draw(5, 9, 0) == [0, 1, 2, 3, 4]


def test_numbers_are_split_by_image() -> None:
    assert list(by_image([0, 1, 5, 6, 9], [2, 0, 5, 1, 4])) == [(0, [0, 1]), (2, [3, 4]), (4, [1])]
    assert list(by_image([], [3])) == []

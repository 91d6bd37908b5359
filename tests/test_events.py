"""Typed events: every kind is a word of its own, every event counts, and none can be changed."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from swin2sr_ops import events

KINDS = [value for value in vars(events).values() if isinstance(value, type) and issubclass(value, events.Event)]


def example(kind: type[events.Event]) -> events.Event:
    words = {"str": "x", "int": 2, "float": 1.0, "dict[str, Any]": {}}
    return kind(**{field.name: words[str(field.type)] for field in dataclasses.fields(kind)})


def test_kinds_differ() -> None:
    assert len({kind.kind for kind in KINDS}) == len(KINDS) == 12
    assert {name for name in events.__all__ if name != "Progress"} == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_events_are_frozen_values(kind: type[events.Event]) -> None:
    event = example(kind)
    assert (event.done, event.total) == (2, 2)
    assert pickle.loads(pickle.dumps(event)) == event
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.done = 3  # type: ignore[misc]


def test_a_part_is_not_an_image() -> None:
    """Equal fields do not make an image of a batch and an image inside an archive equal."""
    given = {"done": 1, "total": 2, "source": "a"}
    assert events.ImageStart(**given) != events.PartStart(**given)

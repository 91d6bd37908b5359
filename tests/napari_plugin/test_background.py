"""Events of a run reach the window one delivery at a time, and the large sample survives its own defaults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from swin2sr_ops.events import Event, PyramidProgress, RangeProgress, RunStart, TileDone
from tests.napari_plugin.conftest import prepare


@pytest.mark.parametrize(
    "event_of",
    [
        lambda done: RangeProgress(done=done, total=1000),
        lambda done: TileDone(done=done, total=1000, pixels=1),
        lambda done: PyramidProgress(done=done, total=1000, level=1),
    ],
    ids=["range", "tile", "pyramid"],
)
def test_a_burst_of_events_is_drawn_without_nesting(
    viewer: Any, qtbot: Any, monkeypatch: pytest.MonkeyPatch, event_of: Callable[[int], Event]
) -> None:
    """napari's bar processes events; without a guard each of a thousand entered the handler again."""
    from napari.utils import progress
    from swin2sr_ops_napari import background

    depth, deepest, bars = 0, 0, 0
    real, make = background.Background._receive, background.cancelable_progress

    def receive(self: Any, items: list[Any]) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        real(self, items)
        depth -= 1

    def bar(*given: Any, **more: Any) -> Any:
        nonlocal bars
        bars += 1
        return make(*given, **more)

    monkeypatch.setattr(background.Background, "_receive", receive)
    monkeypatch.setattr(background, "cancelable_progress", bar)

    def burst(tell: Any, _stop: Any) -> str:
        tell(RunStart(done=0, total=1000, pixels=1000))
        for done in range(1000):
            tell(event_of(done))
        return "done"

    run = background.Background("burst", burst)
    lines: list[str] = []
    run.moved.connect(lambda line, _done, _total: lines.append(line))
    with qtbot.waitSignal(run.ended, timeout=60_000) as ended:
        run.start()
    assert ended.args[0].result == "done"
    assert deepest == 1
    assert bars <= 1
    assert not progress._all_instances


@pytest.mark.parametrize("output", ["lazy", "disk"])
@pytest.mark.usefixtures("drawn")
def test_the_large_sample_with_its_defaults(widget: Any, viewer: Any, qtbot: Any, tmp_path: Any, output: str) -> None:
    (layer,) = viewer.open_sample("swin2sr-ops", "large")
    prepare(widget, output, path=tmp_path / "large.ome.zarr")
    lines: list[str] = []
    widget.restore()
    run = widget.running
    run.moved.connect(lambda line, _done, _total: lines.append(line))
    qtbot.waitUntil(lambda: len(lines) > 3 or widget.running is None, timeout=120_000)
    widget.cancel()
    qtbot.waitUntil(lambda: widget.running is None, timeout=60_000)
    assert "This should not happen" not in widget.status.text()
    assert layer in viewer.layers


def test_napari_names_the_run_when_its_window_is_closed(viewer: Any, qtbot: Any) -> None:
    from swin2sr_ops_napari.background import _Named

    assert str(_Named("nuclei x2", lambda: None)) == "“nuclei x2” (Swin2SR ops)"

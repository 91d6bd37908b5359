"""Measure the preview of a 30,000 x 30,000 px image: time until it is complete, cost, and stalls of the window.

Opens a window: on a machine without a display, `xvfb-run -a -s "-screen 0 1600x1000x24" python ...`.

python benchmarks/napari_preview.py --folder /tmp/napari-preview
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

SIDE, CHUNK = 30_000, 512
SETTLED = 1.5  # seconds that nothing may happen before a phase begins


def make_image(path: Path) -> None:
    """An OME-Zarr of nuclei that repeat every 512 px: all chunks of a level are one file, linked."""
    import zarr
    from swin2sr_ops_napari.samples import large

    from swin2sr_ops.io.base import ImageInfo
    from swin2sr_ops.io.output.pyramid import level_shapes
    from swin2sr_ops.io.zarr.ngff import image_attributes

    ((levels, _, _),) = large()
    shapes = level_shapes((SIDE, SIDE), "YX")
    group = zarr.open_group(path, mode="w", zarr_format=3)
    for i, (shape, level) in enumerate(zip(shapes, levels, strict=True)):
        array = group.create_array(str(i), shape=shape, chunks=(CHUNK, CHUNK), dtype="uint16")
        side = tuple(min(CHUNK, n) for n in shape)
        array[: side[0], : side[1]] = np.asarray(level[: side[0], : side[1]])
        first = path / str(i) / "c" / "0" / "0"
        for y in range(-(-shape[0] // CHUNK)):
            (first.parent.parent / str(y)).mkdir(exist_ok=True)
            for x in range(-(-shape[1] // CHUNK)):
                if y or x:
                    os.link(first, first.parent.parent / str(y) / str(x))
    info = ImageInfo(
        shape=shapes[0], axes="YX", dtype=np.dtype("uint16"), chunks=(CHUNK, CHUNK),
        pixel_size={"Y": 0.65, "X": 0.65}, origin={"Y": 0.0, "X": 0.0}, units={"Y": "micrometer", "X": "micrometer"},
    )  # fmt: skip
    group.update_attributes(image_attributes(info, version="0.5", levels=len(shapes), name="nuclei", ranges=[]))


class Watch:
    """The window's thread, asked every few milliseconds whether it is there; and the process's memory."""

    def __init__(self) -> None:
        from qtpy.QtCore import QTimer

        self.gaps: list[float] = []
        self.own: list[float] = []
        self.peak = 0
        self._last, self._used = time.perf_counter(), time.thread_time()
        self._timer = QTimer()
        self._timer.setInterval(2)
        self._timer.timeout.connect(self._tick)
        self._timer.start()
        self._over = threading.Event()
        threading.Thread(target=self._sample, daemon=True).start()

    def _tick(self) -> None:
        now, used = time.perf_counter(), time.thread_time()
        self.gaps.append(now - self._last)
        self.own.append(used - self._used)
        self._last, self._used = now, used

    def _sample(self) -> None:
        process = psutil.Process()
        while not self._over.wait(0.05):
            self.peak = max(self.peak, process.memory_info().rss)

    def fresh(self) -> None:
        """Forget the gaps."""
        self.gaps.clear()
        self.own.clear()

    def waits(self) -> dict[str, float]:
        """The longest ones, in ms; ``own`` counts the thread's processor time, which a busy machine hardly changes."""
        worst, own = (sorted([*found, 0.0, 0.0], reverse=True) for found in (self.gaps, self.own))
        return {
            "max": round(1e3 * worst[0]),
            "second": round(1e3 * worst[1]),
            "over_100_ms": sum(g > 0.1 for g in worst),
            "own_max": round(1e3 * own[0]),
            "own_over_100_ms": sum(g > 0.1 for g in own),
        }

    def close(self) -> None:
        """No more samples."""
        self._timer.stop()
        self._over.set()


class Stage:
    """A viewer with the widget and the image, and what can be done with them."""

    def __init__(self, path: Path, model: str | None) -> None:
        import napari
        from napari.qt import get_qapp

        self.app = get_qapp()
        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1500, 900)
        self.watch = Watch()
        began = time.perf_counter()
        (self.layer,) = self._open(path)
        self.opened = time.perf_counter() - began
        _, self.widget = self.viewer.window.add_plugin_dock_widget("swin2sr-ops", "Restore")
        if model is not None:
            self.widget.form.choose_model(model)
        self.rest()

    def _open(self, path: Path) -> Any:
        from importlib.util import find_spec

        if find_spec("napari_ome_zarr"):
            return self.viewer.open(str(path), plugin="napari-ome-zarr")
        from swin2sr_ops_napari.stored import levels_of

        return [self.viewer.add_image(levels_of(str(path), "YX"), multiscale=True, contrast_limits=(0, 1500))]

    def until(self, condition: Callable[[], bool], limit: float = 600.0) -> float:
        """Seconds until ``condition`` holds; the window lives on meanwhile."""
        began = time.perf_counter()
        while not condition():
            self.app.processEvents()
            time.sleep(0.001)
            if time.perf_counter() - began > limit:
                raise TimeoutError(f"nothing after {limit} s: {self.widget.status.text()}")
        return time.perf_counter() - began

    def rest(self, seconds: float = SETTLED) -> None:
        """Let everything settle."""
        end = time.perf_counter() + seconds
        self.until(lambda: time.perf_counter() > end)

    def go(self, y: float, x: float) -> None:
        """Pan: pixel (y, x) in the middle."""
        world = self.layer.data_to_world((y, x))
        self.viewer.scene.camera.center = (0.0, float(world[0]), float(world[1]))

    def zoom(self, screen: float) -> None:
        """So many screen pixels per pixel."""
        self.viewer.scene.camera.zoom = screen / float(self.layer.scale[0])


def places(count: int) -> list[tuple[float, float]]:
    """Somewhere else each time."""
    rng = np.random.default_rng(0)
    return [(float(y), float(x)) for y, x in rng.uniform(2000, SIDE - 2000, (count, 2))]


def pans(stage: Stage, count: int) -> dict[str, Any]:
    """From a pan to the first tile, and to all of them."""
    preview, first, whole, tiles = stage.widget.preview, [], [], []
    for place in places(count):
        before = preview._number
        stage.go(*place)
        began = time.perf_counter()
        stage.until(lambda: preview._number > before and preview._left < preview._boxes)  # noqa: B023
        first.append(time.perf_counter() - began)
        stage.until(lambda: preview.finished)
        whole.append(time.perf_counter() - began)
        tiles.append(preview._boxes)
    return {
        "first_tile_s": {"median": _s(statistics.median(first)), "max": _s(max(first))},
        "whole_view_s": {"median": _s(statistics.median(whole)), "max": _s(max(whole))},
        "tiles": tiles,
    }


def interrupted(stage: Stage, count: int) -> dict[str, Any]:
    """A pan in the middle of the work of another: until its first tile stands."""
    preview, first = stage.widget.preview, []
    for place in places(2 * count)[count:]:
        before = preview._number
        stage.go(place[1], place[0])
        stage.until(lambda: preview._number > before and preview._boxes - preview._left > 3)  # noqa: B023
        before = preview._number
        stage.go(*place)
        began = time.perf_counter()
        stage.until(lambda: preview._number > before and preview._left < preview._boxes)  # noqa: B023
        first.append(time.perf_counter() - began)
    return {"first_tile_s": {"median": _s(statistics.median(first)), "max": _s(max(first))}}


def bare_pans(stage: Stage, count: int) -> None:
    """napari alone."""
    for place in places(3 * count)[2 * count :]:
        stage.go(*place)
        stage.rest(1.0)


def bare_layer(stage: Stage) -> None:
    """Measure napari's own time for a layer like that of a preview: the same size, type and appearance."""
    from swin2sr_ops_napari.layers import appearance

    image = np.zeros((1800, 2400), "uint16")
    layer = stage.viewer.add_image(image, multiscale=False, units=stage.layer.units, **appearance(stage.layer))
    stage.rest()
    stage.viewer.layers.remove(layer)
    stage.rest()


def run(stage: Stage, folder: Path, seconds: float) -> dict[str, Any]:
    """A whole run onto disk, watched for a while and then cancelled."""
    widget = stage.widget
    widget.form.output_box.setCurrentIndex(widget.form.output_box.findData("disk"))
    widget.form.path_edit.setText(str(folder / "out.ome.zarr"))
    watch, stalls = stage.watch, {}
    watch.fresh()
    widget.restore()
    stage.until(lambda: widget.bar.value() > 0)
    stalls["to the first tile"] = watch.waits()
    watch.fresh()
    stage.rest(seconds)
    stalls["while tiles come"] = watch.waits()
    status = widget.status.text()
    began = time.perf_counter()
    watch.fresh()
    widget.cancel()
    stage.until(lambda: widget.running is None)
    cancelled = _s(time.perf_counter() - began)
    stage.rest()
    stalls["cancelled"] = watch.waits()
    return {"status": status, "cancel_s": cancelled, "stalls_ms": stalls}


def lazy(stage: Stage, count: int) -> dict[str, Any]:
    """A lazy layer: from Restore until it is there, then drawn and panned."""
    widget, watch, stalls = stage.widget, stage.watch, {}
    widget.form.output_box.setCurrentIndex(widget.form.output_box.findData("lazy"))
    began = time.perf_counter()
    watch.fresh()
    widget.restore()
    stage.until(lambda: widget.running is None)
    added = _s(time.perf_counter() - began)
    stalls["until it is there"] = watch.waits()
    layer = stage.viewer.layers[-1]
    server = layer.data[0].server
    watch.fresh()
    stage.until(lambda: not server.busy)
    stalls["drawn"] = watch.waits()
    watch.fresh()
    for place in places(4 * count)[3 * count :]:
        stage.go(*place)
        stage.rest(1.5)
    stalls["panned"] = watch.waits()
    stage.viewer.layers.remove(layer)
    stage.rest()
    return {"added_s": added, "stalls_ms": stalls}


def _s(seconds: float) -> float:
    return round(seconds, 2)


def main() -> None:
    """Open the viewer, measure, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the image is made (a few MB), kept; else a temporary one")
    parser.add_argument("--model", help="one by name; else what the answers of the form choose")
    parser.add_argument("--pans", type=int, default=8)
    parser.add_argument("--run", type=float, default=20.0, help="seconds of a whole run that are watched")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp())
    os.environ["NAPARI_CONFIG"] = str(folder / "settings.yaml")
    path = folder / "nuclei.ome.zarr"
    if not path.is_dir():
        path.parent.mkdir(parents=True, exist_ok=True)
        make_image(path)
    print(json.dumps(measured(Stage(path, args.model), folder, args.pans, args.run), indent=1))


def measured(stage: Stage, folder: Path, count: int, seconds: float) -> dict[str, Any]:
    """Go through all phases; print each, and return them together."""
    found: dict[str, Any] = {
        "cores": os.cpu_count(), "load": os.getloadavg()[0], "opened_s": _s(stage.opened),
        "canvas": [int(n) for n in stage.viewer.window.geometry()[2:]],
    }  # fmt: skip
    stage.zoom(1.0)
    stage.go(*places(1)[0])
    stage.rest()
    watch = stage.watch

    def phase(name: str, work: Callable[[], Any]) -> None:
        watch.fresh()
        found[name] = (work() or {}) | {"stall_ms": watch.waits()}
        print(name, json.dumps(found[name]), flush=True)

    def start() -> dict[str, Any]:
        stage.widget.start_preview()
        return {
            "first_tile_with_loading_s": _s(
                stage.until(lambda: stage.widget.preview._boxes - stage.widget.preview._left > 0)
            )
        }

    phase("napari alone, a layer added and removed", lambda: bare_layer(stage))
    phase("napari alone, panned", lambda: bare_pans(stage, count))
    phase("preview started", start)
    stage.until(lambda: stage.widget.preview.finished)
    phase("preview, all visible restored, at rest", stage.rest)
    phase("preview, panned", lambda: pans(stage, count))
    phase("preview, panned in the middle of the work", lambda: interrupted(stage, count))
    stage.zoom(0.03)
    stage.rest()
    phase("preview, zoomed out", lambda: {"whole_view_s": _s(stage.until(lambda: stage.widget.preview.finished))})

    def stop() -> None:
        stage.widget.stop_preview()
        stage.rest()

    phase("preview stopped", stop)
    stage.zoom(1.0)
    stage.rest()
    phase("lazy layer", lambda: lazy(stage, count))
    phase("run onto disk", lambda: run(stage, folder, seconds))
    found["peak_rss_gb"] = round(watch.peak / 1e9, 2)
    watch.close()
    shutil.rmtree(folder / "out.ome.zarr.partial", ignore_errors=True)
    stage.viewer.close()
    return found


if __name__ == "__main__":
    main()

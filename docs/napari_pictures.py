"""Make the pictures of docs/napari.md: menu, widget, preview and result on a real microscopy image, dark and light.

Opens a window and takes pictures of the screen:
`xvfb-run -a -s "-screen 0 1280x800x24" python docs/napari_pictures.py`.
"""

from __future__ import annotations

import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

OUT = Path(__file__).parent / "images"
SIZE = 1280, 800
MOST = 250_000  # bytes


class Stage:
    """A window with the widget."""

    def __init__(self, theme: str) -> None:
        import napari
        from napari.qt import get_qapp
        from napari.settings import get_settings
        from swin2sr_ops_napari.viewport import main_window

        get_settings().appearance.theme = theme
        self.app = get_qapp()
        self.viewer = napari.Viewer(show=True, title="napari")
        _, self.widget = self.viewer.window.add_plugin_dock_widget("swin2sr-ops", "Restore")
        self.window: Any = main_window(self.widget)
        self.window.setGeometry(0, 0, *SIZE)
        form = self.widget.form
        form.quality_box.setCurrentIndex(form.quality_box.findData("fast"))
        self.rest(1.0)

    def rest(self, seconds: float = 0.5) -> None:
        """Let the window draw."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)

    def until(self, condition: Callable[[], bool], limit: float = 120.0) -> None:
        """Go on until ``condition`` holds."""
        end = time.monotonic() + limit
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(self.widget.status.text())
            self.app.processEvents()
            time.sleep(0.005)

    def sample(self, name: str, zoom: float) -> Any:
        """A sample, seen from near."""
        (layer,) = self.viewer.open_sample("swin2sr-ops", name)
        self.viewer.reset_view()
        self.viewer.scene.camera.zoom = zoom
        self.rest()
        return layer

    def size(self, width: int, height: int) -> None:
        """Make the window as large as a screen of this size."""
        self.window.setGeometry(0, 0, width, height)
        self.rest(0.5)

    def take(self, name: str, part: Any = None, height: int | None = None) -> None:
        """A picture of the screen, or of one widget."""
        self.rest(0.3)
        shot = (
            part.grab()
            if part is not None
            else self.app.primaryScreen().grabWindow(0, 0, 0, self.window.width(), self.window.height())
        )
        image = shot.toImage().convertToFormat(shot.toImage().Format.Format_RGB888)
        bits = image.constBits()
        bits.setsize(image.sizeInBytes())
        rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
        pixels = rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)
        save(OUT / f"napari_{name}.png", pixels[:height])

    def close(self) -> None:
        """The window goes."""
        self.viewer.close()
        self.app.processEvents()


def save(path: Path, pixels: np.ndarray) -> None:
    """A PNG of few colours, small enough for a repository."""
    picture = Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE)
    held = io.BytesIO()
    picture.save(held, "PNG", optimize=True)
    if held.tell() > MOST:
        raise ValueError(f"{path.name} takes {held.tell()} bytes; {MOST} are allowed.")
    path.write_bytes(held.getvalue())
    print(path, picture.size, held.tell())


def menu(stage: Stage) -> None:
    """Layers > Filter > Restoration, opened."""
    bar = stage.window.menuBar()
    (layers,) = [action.menu() for action in bar.actions() if action.text().replace("&", "") == "Layers"]
    layers.popup(bar.mapToGlobal(bar.actionGeometry(layers.menuAction()).bottomLeft()))
    opened = layers
    for title in ("Filter", "Restoration"):
        stage.rest()
        (action,) = [a for a in opened.actions() if a.text().replace("&", "").strip() == title]
        opened.setActiveAction(action)
        opened = action.menu()
        stage.rest()
        if not opened.isVisible():
            opened.popup(opened.parentWidget().mapToGlobal(opened.parentWidget().actionGeometry(action).topRight()))
    opened.setActiveAction(opened.actions()[0])
    stage.take("menu")
    for action in (opened, layers):
        action.close()


def preview(stage: Stage, name: str) -> None:
    """In the middle of the work: restored in the centre, not yet around it."""
    stage.sample("cells", 4.0)
    stage.rest()
    stage.widget.start_preview()
    found = stage.widget.preview
    stage.until(lambda: found._boxes > 0 and found._boxes - found._left >= 2)
    stage.take(name)
    stage.widget.stop_preview()


def trust(stage: Stage) -> None:
    """How far each pixel can be trusted, over the image."""
    stage.sample("cells", 3.0)
    stage.widget.trust()
    stage.until(lambda: stage.widget.running is None)
    stage.take("trust")


def result(stage: Stage, name: str) -> None:
    """The whole layer, restored, over its source."""
    stage.sample("cells", 3.2)
    stage.viewer.reset_view()
    stage.viewer.scene.camera.zoom = 5.0
    stage.widget.restore()
    stage.until(lambda: stage.widget.running is None)
    stage.take(name)


def small(stage: Stage) -> None:
    """The first look on a small screen: the three questions and the line of plan."""
    stage.size(1024, 768)
    stage.sample("cells", 3.0)
    stage.viewer.reset_view()
    stage.until(lambda: "tile" in stage.widget.plan.text())
    stage.take("small")
    stage.size(*SIZE)


def advanced(stage: Stage) -> None:
    """Advanced open on a small screen, before a run onto disk."""
    stage.size(1024, 768)
    form = stage.widget.form
    stage.sample("cells", 3.0)
    form.show_advanced(True)
    form.output_box.setCurrentIndex(form.output_box.findData("disk"))
    form.path_edit.setText("/data/nuclei_x2.ome.zarr")
    stage.until(lambda: "tile" in stage.widget.plan.text())
    stage.take("advanced")


def main() -> None:
    """Take the pictures in both themes."""
    os.environ["NAPARI_CONFIG"] = str(Path(tempfile.mkdtemp()) / "settings.yaml")
    OUT.mkdir(exist_ok=True)
    for theme in ("dark", "light"):
        stage = Stage(theme)
        preview(stage, f"preview_{theme}")
        stage.close()
        stage = Stage(theme)
        result(stage, f"result_{theme}")
        if theme == "dark":
            menu(stage)
            stage.close()
            stage = Stage(theme)
            small(stage)
            stage.close()
            stage = Stage(theme)
            trust(stage)
            stage.close()
            stage = Stage(theme)
            advanced(stage)
        stage.close()


if __name__ == "__main__":
    main()

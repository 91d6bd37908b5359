"""The dock widget that trains a model on a noisy layer."""

from __future__ import annotations

from swin2sr_ops_napari import check_host

check_host()

import re  # noqa: E402  (said first that napari is missing)
import time  # noqa: E402
from contextlib import suppress  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import napari  # noqa: E402
from napari.layers import Image  # noqa: E402
from napari.utils.notifications import notification_manager, show_error  # noqa: E402
from qtpy.QtCore import Qt  # noqa: E402
from qtpy.QtWidgets import (  # noqa: E402
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
)

from swin2sr_ops.hosting import Event  # noqa: E402
from swin2sr_ops_napari.background import Background, Outcome, Work  # noqa: E402
from swin2sr_ops_napari.docked import Docked  # noqa: E402
from swin2sr_ops_napari.host import NAME, WIDGET  # noqa: E402
from swin2sr_ops_napari.layers import describe, is_own  # noqa: E402
from swin2sr_ops_napari.messages import Message, sentence  # noqa: E402
from swin2sr_ops_napari.pace import span  # noqa: E402
from swin2sr_ops_napari.training import METHODS, Training  # noqa: E402

__all__ = ["TrainWidget"]

_STEPS = 1000


class _Steps(Background):
    """Training in the background: it counts steps, not tiles."""

    def __init__(self, title: str, work: Work) -> None:
        super().__init__(title, work)
        self._began = time.monotonic()
        self._first = 0

    def _line(self, event: Event) -> tuple[str, int, int] | None:
        if event.kind != "step":
            return None
        if not self._first:  # the time before the first step is that of loading
            self._first, self._began = event.done, time.monotonic()
        own = event.done - self._first
        left = (time.monotonic() - self._began) / own * (event.total - event.done) if own else None
        line = f"{event.done} of {event.total} steps" + (f", {span(left)} left" if left is not None else "")
        return line, event.done, event.total


class TrainWidget(Docked):
    """Train a model of the image's own size on a noisy image layer, without clean images.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.running: Background | None = None
        self._training: Training | None = None
        self._layers: list[Any] = []
        self.layer_box, self.method_box, self.steps_box = QComboBox(), QComboBox(), QSpinBox()
        self.path_edit, self.browse = QLineEdit(), QPushButton("...")
        self.train_button, self.cancel_button = QPushButton("Train"), QPushButton("Cancel")
        self.bar, self.status = QProgressBar(), QLabel("")
        self._arrange()
        self._connect()
        self._fill_layers()

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        row = self.layer_box.currentIndex()
        return self._layers[row] if 0 <= row < len(self._layers) else None

    def train(self) -> None:
        """Train on the chosen layer in the background."""
        if self.running is not None:
            return
        try:
            self._training = Training(
                describe(self.layer), self.path_edit.text().strip(), self.method_box.currentData(),
                self.steps_box.value(),
            )  # fmt: skip
            self._training.check()
        # Shown in the window, or, where it is a fault of the program, handed on to napari.
        except Exception as exc:  # noqa: BLE001
            self._tell(exc)
            return
        run = self.running = _Steps(f"Training on {self._training.image.name}", self._training.work)
        run.moved.connect(self._moved)
        run.ended.connect(self._ended)
        self._say("Loading the image and the model ...")
        self.bar.setRange(0, 0)
        self._follow()
        run.start()

    def cancel(self) -> None:
        """Stop after the current step; nothing is written."""
        if self.running is not None:
            self.running.cancel()
            self.cancel_button.setEnabled(False)
            self._say("Stopping after the current step ...")

    def _moved(self, line: str, done: int, total: int) -> None:
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        if self.running is not None and not self.running.cancelled:
            self._say(line)

    def _ended(self, outcome: Outcome) -> None:
        self.running = None
        self.bar.setRange(0, 1)
        self.bar.setValue(int(outcome.error is None))
        self._follow()
        if outcome.stopped:
            self._say("Cancelled; no model was written.")
        elif outcome.error is not None:
            self._tell(outcome.error)
        elif self._training is not None:
            self._say(outcome.result)
            self._list(self._training.path)
            self._propose_path()

    def _list(self, path: str) -> None:
        """List the model in the Restore widget, and choose it; the widget is opened where it is not."""
        _, restore = self.viewer.window.add_plugin_dock_widget(NAME, WIDGET)
        restore.form.add_model(path)

    def _tell(self, error: BaseException) -> None:
        message = sentence(error)
        if message is None:
            self._say(f"A fault of the plugin: {type(error).__name__}. Please report it; napari shows the details.")
            notification_manager.receive_error(type(error), error, error.__traceback__)
            return
        self._say(message)
        show_error(message.line)

    def _say(self, message: Message | str) -> None:
        message = Message(message) if isinstance(message, str) else message
        self.status.setText(message.line)
        self.status.setToolTip(message.more)

    # --- reacting and building ----------------------------------------------------------------

    def _fill_layers(self, _event: Any = None) -> None:
        """List the viewer's image layers, keeping the choice."""
        before = self.layer
        found = [layer for layer in reversed(self.viewer.layers) if isinstance(layer, Image) and not is_own(layer)]
        self._layers = found
        self.layer_box.blockSignals(True)
        self.layer_box.clear()
        self.layer_box.addItems([layer.name for layer in found])
        wanted = before if before in found else self.viewer.layers.selection.active
        self.layer_box.setCurrentIndex(found.index(wanted) if wanted in found else 0 if found else -1)
        self.layer_box.blockSignals(False)
        self._propose_path()
        self._follow()

    def _propose_path(self, _row: int = 0) -> None:
        """Propose a file in the home folder, until the person has written one."""
        if self.layer is None or self.path_edit.isModified():
            return
        stem = re.sub(r"[^\w.-]+", "-", self.layer.name).strip("-.")[:100] or "image"  # file names end at 255
        paths = (Path.home() / f"{stem}-denoise{n}.safetensors" for n in ("", *(f"-{i}" for i in range(2, 100))))
        free = next((path for path in paths if not path.exists()), None)
        self.path_edit.setText("" if free is None else str(free))  # with all taken, the user names it

    def _browse(self) -> None:
        path, _ = QFileDialog.getSaveFileName(self, "Model", self.path_edit.text(), "Models (*.safetensors)")
        if path:
            self.path_edit.setText(path if path.endswith(".safetensors") else f"{path}.safetensors")
            self.path_edit.setModified(True)

    def _follow(self) -> None:
        busy = self.running is not None
        self.train_button.setEnabled(not busy and self.layer is not None)
        self.cancel_button.setEnabled(busy)

    def leave(self) -> None:
        """End the training, and forget the viewer's layers."""
        self.cancel()
        for event in self._events():
            with suppress(ValueError, RuntimeError, KeyError):
                event.disconnect(self._fill_layers)

    def _events(self) -> list[Any]:
        events = self.viewer.layers.events
        return [events.inserted, events.removed, events.reordered, events.renamed]

    def _connect(self) -> None:
        self.train_button.clicked.connect(self.train)
        self.cancel_button.clicked.connect(self.cancel)
        self.browse.clicked.connect(self._browse)
        self.layer_box.currentIndexChanged.connect(self._propose_path)
        for event in self._events():
            event.connect(self._fill_layers)

    def _arrange(self) -> None:
        for method, label in METHODS.items():
            self.method_box.addItem(label, method)
        self.steps_box.setRange(1, 1_000_000)
        self.steps_box.setValue(_STEPS)
        self.status.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.bar.setRange(0, 1)
        path, buttons = QHBoxLayout(), QHBoxLayout()
        for row, parts in ((path, (self.path_edit, self.browse)), (buttons, (self.train_button, self.cancel_button))):
            for part in parts:
                row.addWidget(part)
        form = QFormLayout()
        form.addRow("Noisy image", self.layer_box)
        form.addRow("It has", self.method_box)
        form.addRow("Steps", self.steps_box)
        form.addRow("Model", path)
        column = QVBoxLayout(self)
        column.addLayout(form)
        column.addLayout(buttons)
        column.addWidget(self.bar)
        column.addWidget(self.status)
        column.addStretch()
        self.layer_box.setToolTip("The model learns to clean images like this one. No clean image is needed.")
        self.method_box.setToolTip("Frames: the axis T, or Z, or the first other one.")
        self.steps_box.setToolTip("It stops earlier once the part that is held out no longer improves.")
        self.path_edit.setToolTip("Where the model is written, with a card beside it.")

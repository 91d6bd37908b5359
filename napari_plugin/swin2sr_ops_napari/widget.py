"""The dock widget: choose, preview, restore, cancel."""

from __future__ import annotations

from swin2sr_ops_napari import check_host

check_host()

from typing import Any  # noqa: E402  (said first that napari is missing)

import napari  # noqa: E402
from napari.utils.notifications import notification_manager, show_error, show_info  # noqa: E402
from qtpy.QtCore import QTimer  # noqa: E402
from qtpy.QtWidgets import (  # noqa: E402
    QApplication,
    QGridLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from swin2sr_ops.errors import RequestError  # noqa: E402
from swin2sr_ops_napari.away import take_away  # noqa: E402
from swin2sr_ops_napari.background import Background, Outcome  # noqa: E402
from swin2sr_ops_napari.choices import fetch, needs_download  # noqa: E402
from swin2sr_ops_napari.form import Form  # noqa: E402
from swin2sr_ops_napari.layers import LayerImage  # noqa: E402
from swin2sr_ops_napari.live import Preview  # noqa: E402
from swin2sr_ops_napari.outputs import Disk, Lazy, Memory, Output  # noqa: E402
from swin2sr_ops_napari.preferences import preferences, watch  # noqa: E402
from swin2sr_ops_napari.request import Request  # noqa: E402
from swin2sr_ops_napari.told import sentence  # noqa: E402

__all__ = ["RestoreWidget"]

#: Milliseconds between two looks at the tiles that came.
_GROW = 400


class RestoreWidget(QWidget):
    """Restore image layers.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.form = Form(napari_viewer)
        self.preview = Preview(napari_viewer, self)
        self.running: Background | None = None
        self._output: Output | None = None
        self._growing: Any = None
        self.preview_button, self.restore_button = QPushButton("Preview"), QPushButton("Restore")
        self.cancel_button, self.fetch_button = QPushButton("Cancel"), QPushButton("Fetch the model")
        self.command_button = QPushButton("Copy command")
        self.bar, self.status = QProgressBar(), QLabel("")
        self._grow = QTimer(self)
        self._grow.setInterval(_GROW)
        self._grow.timeout.connect(self._show_growing)
        self._arrange()
        self._connect()
        self._chosen()

    # --- what buttons do ----------------------------------------------------------------------

    def start_preview(self) -> None:
        """Restore what is visible, from now on."""
        self.preview_button.setChecked(True)

    def stop_preview(self) -> None:
        """Take the preview away."""
        self.preview_button.setChecked(False)

    def _toggle_preview(self, wanted: bool) -> None:
        if not wanted:
            self.preview.stop()
            self.status.setText("")
            return
        try:
            image, request = self._checked()
            self.preview.start(self.form.layer, image, request)
        # Told in the window, or, where it is a fault of the program, handed on to napari.
        except Exception as exc:  # noqa: BLE001
            self.stop_preview()
            self.tell(exc)

    def restore(self) -> None:
        """Restore the whole layer, in the background."""
        if self.running is not None:
            return
        try:
            image, request = self._checked()
            output = self._make(image, request)
        # As above.
        except Exception as exc:  # noqa: BLE001
            self.tell(exc)
            return
        self.stop_preview()
        self._begin(output.name, output.work, output)

    def fetch(self) -> None:
        """Download the weights of the chosen model, once."""
        try:
            spec = self.form.spec()
        except RequestError as exc:
            self.tell(exc)
            return
        self._begin(f"Fetching {spec.name}", lambda tell, stop: fetch(spec), None)
        self.bar.setRange(0, 0)

    def cancel(self) -> None:
        """Stop after the tile at work; what is done is kept."""
        if self.running is not None:
            self.running.cancel()
            self.cancel_button.setEnabled(False)
            self.status.setText("Stopping after the tile at work ...")

    def copy_command(self) -> None:
        """Put the command that does, or goes on with, the same into the clipboard."""
        command = self.command
        if command is not None:
            QApplication.clipboard().setText(command)
            show_info("The command is in the clipboard.")

    @property
    def command(self) -> str | None:
        """The command that goes on with the last run on disk, where its layer shows a file."""
        return self._output.command if isinstance(self._output, Disk) else None

    def tell(self, error: BaseException) -> None:
        """A sentence in napari's notifications; faults of the program with their traceback."""
        told = sentence(error)
        if told is None:
            self.status.setText(f"This should not happen: {error!r}")
            notification_manager.receive_error(type(error), error, error.__traceback__)
            return
        self.status.setText(told)
        show_error(told)

    # --- a run --------------------------------------------------------------------------------

    def _checked(self) -> tuple[LayerImage, Request]:
        image = self.form.image()
        request = self.form.request()
        request.restorer(image)  # refuses what does not fit, before anything is begun
        return image, request

    def _make(self, image: LayerImage, request: Request) -> Output:
        layer, kind = self.form.layer, self.form.output
        if kind == "memory":
            return Memory(layer, image, request)
        if kind == "lazy":
            return Lazy(layer, image, request)
        others = [other for other in self.viewer.layers if isinstance(other, napari.layers.Image)]
        return Disk(layer, image, request, self.form.path(), self.form.replace.isChecked(), others)

    def _begin(self, title: str, work: Any, output: Output | None) -> None:
        self._output = output
        run = self.running = Background(title, work)
        run.moved.connect(self._moved)
        run.ended.connect(self._ended)
        self.status.setText("Loading the model ..." if output is not None else f"{title} ...")
        self.bar.setRange(0, 0)
        self._chosen()
        shown = output.show_growing() if output is not None else None
        if shown is not None:  # now, while nothing is computed: napari takes its time for a new layer
            self._growing = self._add(*shown)
        run.start()
        self._grow.start()

    def _moved(self, told: str, done: int, total: int) -> None:
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        if self.running is not None and not self.running.cancelled:
            self.status.setText(told)

    def _show_growing(self) -> None:
        """Show the tiles that came since the last look."""
        output = self._output
        if output is not None and output.grown() and self._growing is not None and self._growing in self.viewer.layers:
            self._growing.refresh(thumbnail=False, extent=False, highlight=False)

    def _add(self, data: Any, said: dict[str, Any]) -> Any:
        """Add a layer; the choice stays where it was."""
        chosen = set(self.viewer.layers.selection)
        added = self.viewer.add_image(data, **said)
        self.viewer.layers.selection = {layer for layer in chosen if layer in self.viewer.layers}
        return added

    def _ended(self, outcome: Outcome) -> None:
        self._grow.stop()
        self.running, output = None, self._output
        self.bar.setRange(0, 1)
        self.bar.setValue(int(outcome.error is None))
        try:
            if output is not None:
                for data, said in output.layers(outcome):
                    self._add(data, said)
            take_away(self.viewer, self._growing)
        finally:
            self._growing = None
            self._chosen()
        if outcome.error is not None and not outcome.stopped:
            self.tell(outcome.error)
        else:
            self.status.setText(self._summary(output, outcome))

    def _summary(self, output: Output | None, outcome: Outcome) -> str:
        if output is None:
            return "The model is here."
        if not outcome.stopped:
            if isinstance(output, Lazy):
                return "The lazy layer is there: it is computed where you look."
            told = str(outcome.result).partition(": ")[2]
            return f"Finished: {told}." if told else "Finished."
        if not isinstance(output, Disk):
            return "Cancelled. What was done is in the layer list; what was not is black."
        if output.file is None and not output.resumable:
            return "Cancelled. What was done is kept, but this layer is of no file: the next run begins again."
        return "Cancelled. What was done is kept: Restore goes on where it was" + (
            ", and so does the command." if output.command else "."
        )

    # --- reacting and building ----------------------------------------------------------------

    def _chosen(self) -> None:
        """Buttons and preview follow what is chosen and what runs."""
        busy = self.running is not None
        self.restore_button.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)
        self.command_button.setVisible(self.command is not None)
        missing = False
        try:
            missing = needs_download(self.form.spec())
        except Exception:  # noqa: BLE001  (said when a button is pressed)
            missing = False
        self.fetch_button.setVisible(missing and not busy)
        if self.preview.running:
            self._toggle_preview(True)

    def _preview_failed(self, error: BaseException) -> None:
        self.stop_preview()
        self.tell(error)

    def _arrange(self) -> None:
        self.status.setWordWrap(True)
        self.preview_button.setCheckable(True)
        self.bar.setTextVisible(True)
        self.bar.setRange(0, 1)
        column = QVBoxLayout(self)
        column.addWidget(self.form)
        buttons = QGridLayout()
        for i, button in enumerate((self.preview_button, self.restore_button, self.cancel_button)):
            buttons.addWidget(button, 0, i)
        buttons.addWidget(self.fetch_button, 1, 0)
        buttons.addWidget(self.command_button, 1, 1, 1, 2)
        column.addLayout(buttons)
        column.addWidget(self.bar)
        column.addWidget(self.status)
        self.preview_button.setToolTip("Restore what is visible, and follow pan and zoom.")
        self.restore_button.setToolTip("Restore the whole layer in the background.")
        self.cancel_button.setToolTip("Stop after the tile at work; what is done is kept.")
        self.command_button.setToolTip("The command that does, or goes on with, the last run on disk.")

    def _connect(self) -> None:
        self.preview_button.toggled.connect(self._toggle_preview)
        self.restore_button.clicked.connect(self.restore)
        self.cancel_button.clicked.connect(self.cancel)
        self.fetch_button.clicked.connect(self.fetch)
        self.command_button.clicked.connect(self.copy_command)
        self.form.changed.connect(self._chosen)
        self.preview.said.connect(self._preview_said)
        self.preview.failed.connect(self._preview_failed)
        self._unwatch = watch(lambda: self.form.use(preferences()))
        self.destroyed.connect(_Goodbye(self))

    def _preview_said(self, told: str) -> None:
        if self.running is None:
            self.status.setText(told)
        if not self.preview.running:
            self.preview_button.setChecked(False)


class _Goodbye:
    """What must end when the widget is gone; it holds no widget, since there is none any more."""

    def __init__(self, widget: RestoreWidget) -> None:
        self._parts = widget.preview, widget.form, widget._unwatch
        self._widget = widget.__dict__

    def __call__(self, _object: Any = None) -> None:
        preview, form, unwatch = self._parts
        preview.close()
        form.disconnect_viewer()
        unwatch()
        running: Background | None = self._widget.get("running")
        if running is not None:
            running.cancel()

"""The dock widget: choose, preview, compare, restore, cancel."""

from __future__ import annotations

from swin2sr_ops_napari import check_host

check_host()

from typing import Any  # noqa: E402  (said first that napari is missing)

import napari  # noqa: E402
from napari.utils.notifications import notification_manager, show_error, show_info  # noqa: E402
from qtpy.QtCore import QEvent, Qt, QTimer  # noqa: E402
from qtpy.QtWidgets import (  # noqa: E402
    QApplication,
    QGridLayout,
    QLabel,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from swin2sr_ops.errors import RequestError, Swin2SROpsError  # noqa: E402
from swin2sr_ops_napari.away import take_away  # noqa: E402
from swin2sr_ops_napari.background import Background, Outcome  # noqa: E402
from swin2sr_ops_napari.choices import fetch, needs_download  # noqa: E402
from swin2sr_ops_napari.form import Form  # noqa: E402
from swin2sr_ops_napari.layers import LayerImage  # noqa: E402
from swin2sr_ops_napari.live import Preview  # noqa: E402
from swin2sr_ops_napari.outputs import Disk, Lazy, Memory, Output  # noqa: E402
from swin2sr_ops_napari.planner import Planner  # noqa: E402
from swin2sr_ops_napari.preferences import preferences, watch  # noqa: E402
from swin2sr_ops_napari.request import Request  # noqa: E402
from swin2sr_ops_napari.results import Results  # noqa: E402
from swin2sr_ops_napari.told import Told, sentence  # noqa: E402

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
        self.planner, self.results = Planner(), Results(napari_viewer)
        self.form.held = lambda: self.preview.running or self.results.adding  # type: ignore[method-assign]
        self.running: Background | None = None
        self._output: Output | None = None
        self._growing: Any = None
        self._waiting: list[Any] = []
        self._docked = False
        self._more = ""
        self.preview_button, self.restore_button = QPushButton("Preview"), QPushButton("Restore")
        self.compare_button = QPushButton("Show the original")
        self.cancel_button, self.fetch_button = QPushButton("Cancel"), QPushButton("Download the model")
        self.command_button = QPushButton("Copy the command")
        self.plan, self.bar, self.status = QLabel(""), QProgressBar(), QLabel("")
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
            self._say("")
            self._show_compare()
            return
        try:
            image, request = self._checked(self.form.layer)
            self.preview.start(self.form.layer, image, request)
        # Shown in the window, or, where it is a fault of the program, handed on to napari.
        except Exception as exc:  # noqa: BLE001
            self.stop_preview()
            self.tell(exc)
        self._show_compare()

    def compare(self, show_source: bool) -> None:
        """Show the source instead of the preview or the result, or these again."""
        self.compare_button.setText("Show the restored image" if show_source else "Show the original")
        if self.preview.running:
            self.preview.compare(show_source)
        else:
            self.results.compare(show_source)

    def restore(self) -> None:
        """Restore the chosen layer, and other selected image layers, in the background."""
        if self.running is not None:
            return
        layers = self.form.selected()
        try:
            if len(layers) > 1 and self.form.output == "disk":
                raise RequestError(
                    f"{len(layers)} layers are selected and there is one folder: select one layer, or choose a new"
                    " layer in the box 'Result'."
                )
            for layer in layers:
                self._checked(layer)
        # As above.
        except Exception as exc:  # noqa: BLE001
            self.tell(exc)
            return
        self.stop_preview()
        self._waiting = layers
        self._next()

    def _next(self) -> None:
        layer = self._waiting.pop(0)
        try:
            output = self._make(layer, *self._checked(layer))
        # As above.
        except Exception as exc:  # noqa: BLE001
            self._waiting = []
            self.tell(exc)
            return
        self._begin(output.name, output.work, output)

    def fetch(self) -> None:
        """Download the weights of the chosen model, once."""
        try:
            spec = self.form.spec()
        except RequestError as exc:
            self.tell(exc)
            return
        self._begin(f"Downloading {spec.name}", lambda tell, stop: fetch(spec), None)
        self.bar.setRange(0, 0)

    def cancel(self) -> None:
        """Stop after the current tile; finished tiles are kept."""
        self._waiting = []
        if self.running is not None:
            self.running.cancel()
            self.cancel_button.setEnabled(False)
            self._say("Stopping after the current tile ...")

    def copy_command(self) -> None:
        """Put the command that runs or resumes the same into the clipboard."""
        command = self.command
        if command is not None:
            QApplication.clipboard().setText(command)
            show_info("The command is in the clipboard.")

    @property
    def command(self) -> str | None:
        """The command that resumes the last run on disk, where its layer shows a file."""
        return self._output.command if isinstance(self._output, Disk) else None

    def tell(self, error: BaseException) -> None:
        """Show a sentence in napari's notifications; faults of the program with their traceback."""
        told = sentence(error)
        if told is None:
            self._say(f"A fault of the plugin: {type(error).__name__}. Please report it; napari shows the details.")
            notification_manager.receive_error(type(error), error, error.__traceback__)
            return
        self._say(told)
        show_error(told.line)

    def _say(self, told: Told | str, tip: str = "") -> None:
        told = Told(told) if isinstance(told, str) else told
        self._more = told.more
        self.status.setText(told.line)
        self.status.setToolTip(tip)
        self.more_button.setVisible(bool(told.more))

    def _show_more(self) -> None:
        box = QMessageBox(self)
        box.setWindowTitle("Details")
        box.setText(self._more)
        box.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        box.open()

    # --- a run --------------------------------------------------------------------------------

    def _checked(self, layer: Any) -> tuple[LayerImage, Request]:
        image = self.form.image(layer)
        request = self.form.request(layer)
        request.restorer(image)  # refuses what does not fit, before anything is begun
        if needs_download(request.spec(image)):
            raise RequestError(
                f"{request.spec(image).name} is not on this computer yet: press 'Download the model', or choose"
                " 'By the answers above' in the box 'Model' under Advanced."
            )
        return image, request

    def _make(self, layer: Any, image: LayerImage, request: Request) -> Output:
        kind = self.form.output
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
        self._say("Loading the model ..." if output is not None else f"{title} ...")
        self.bar.setRange(0, 0)
        self._chosen()
        shown = output.show_growing() if output is not None else None
        if shown is not None:  # now, while nothing is computed: napari takes its time for a new layer
            self._growing = self.results.add(*shown)
        run.start()
        self._grow.start()

    def _moved(self, told: str, done: int, total: int) -> None:
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        if self.running is not None and not self.running.cancelled:
            self._say(told)

    def _show_growing(self) -> None:
        """Show the tiles that came since the last look."""
        output = self._output
        if output is not None and output.grown() and self._growing is not None and self._growing in self.viewer.layers:
            self._growing.refresh(thumbnail=False, extent=False, highlight=False)

    def _ended(self, outcome: Outcome) -> None:
        self._grow.stop()
        self.running, output = None, self._output
        self.bar.setRange(0, 1)
        self.bar.setValue(int(outcome.error is None))
        known = False
        try:
            if output is not None:
                known = self.results.take(output, outcome)
            take_away(self.viewer, self._growing)
        finally:
            self._growing = None
            self._chosen()
        if outcome.error is not None and not outcome.stopped:
            self._waiting = []
            self.tell(outcome.error)
            return
        report = getattr(outcome, "result", None)
        self._say(self._summary(output, outcome, known), "" if report is None else str(report))
        if self._waiting:
            self._next()

    def _summary(self, output: Output | None, outcome: Outcome, known: bool) -> str:
        if output is None:
            return "The model is on this computer now."
        if outcome.stopped:
            return _cancelled(output)
        if isinstance(output, Lazy):
            return "The lazy layer is ready: napari computes the part that you look at, and waits for it."
        return _finished(output, outcome.result, known)

    # --- reacting and building ----------------------------------------------------------------

    def _chosen(self) -> None:
        """Let buttons, plan and preview follow what is chosen and what runs."""
        busy = self.running is not None
        self.restore_button.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)
        self.command_button.setVisible(self.command is not None)
        missing = False
        try:
            missing = needs_download(self.form.spec())
        except Swin2SROpsError:  # shown when a button is pressed
            missing = False
        self.fetch_button.setVisible(missing and not busy)
        self._plan()
        source = self.preview.source
        # A source that was removed ends the preview; it does not jump to the layer that is chosen now.
        if source is not None and source in self.viewer.layers:
            self._toggle_preview(True)
        self._show_compare()

    def _plan(self) -> None:
        try:
            image = self.form.image() if self.form.layer is not None else None
            request = self.form.request() if image is not None else None
            probe = self.running is None and self.isVisible()
            self.planner.show(image, request, probe=probe, count=len(self.form.selected()))
        except Swin2SROpsError:  # shown when a button is pressed
            self.planner.show(None, None, probe=False)

    def _show_compare(self) -> None:
        can = self.preview.running or self.results.comparable
        self.compare_button.setEnabled(can)
        if not can and self.compare_button.isChecked():
            self.compare_button.setChecked(False)

    def _preview_failed(self, error: BaseException) -> None:
        self.stop_preview()
        self.tell(error)

    def _preview_stale(self) -> None:
        """Start the preview again for other pixels of its layer."""
        if self.form.layer == self.preview.source:
            self._toggle_preview(True)

    def showEvent(self, event: Any) -> None:
        """Plan as soon as the widget is on the screen."""
        super().showEvent(event)
        self._plan()

    def event(self, event: QEvent) -> bool:
        """Notice that napari closes the dock: it takes the widget out, and does not delete it."""
        if event.type() == QEvent.Type.ParentChange:
            if self.parent() is None and self._docked:
                self.leave()
            self._docked = self.parent() is not None
        return bool(super().event(event))

    def leave(self) -> None:
        """End the run and the preview; finished tiles are kept, as after Cancel."""
        self.cancel()
        self.preview.leave()
        self.planner.close()
        self.form.disconnect_viewer()
        self._unwatch()

    def _arrange(self) -> None:
        for label in (self.status, self.plan):
            label.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        self.preview_button.setCheckable(True)
        self.compare_button.setCheckable(True)
        self.more_button = QPushButton("More ...")
        self.more_button.hide()
        self.bar.setTextVisible(True)
        self.bar.setRange(0, 1)
        column = QVBoxLayout(self)
        column.addWidget(self.form)
        column.addWidget(self.plan)
        buttons = QGridLayout()
        for i, button in enumerate((self.preview_button, self.restore_button, self.cancel_button)):
            buttons.addWidget(button, 0, i)
        buttons.addWidget(self.compare_button, 1, 0, 1, 2)
        buttons.addWidget(self.more_button, 1, 2)
        buttons.addWidget(self.fetch_button, 2, 0, 1, 2)
        buttons.addWidget(self.command_button, 3, 0, 1, 2)
        column.addLayout(buttons)
        column.addWidget(self.bar)
        column.addWidget(self.status)
        column.addStretch()
        for part, tip in (
            (self.plan, "What Restore will do: the size, its pieces, the time on this machine, and the space."),
            (self.preview_button, "Restore what is visible, and follow when you move or zoom."),
            (self.restore_button, "Restore the whole layer in the background."),
            (self.cancel_button, "Stop after the current tile. Finished tiles are kept."),
            (self.compare_button, "Look at the original and back. View > Grid mode shows both side by side."),
            (self.fetch_button, "Download the chosen network once; it is kept on this computer."),
            (self.command_button, "Copy a command for a terminal that runs or resumes the last run on disk."),
            (self.more_button, "The whole message."),
        ):
            part.setToolTip(tip)

    def _connect(self) -> None:
        self.preview_button.toggled.connect(self._toggle_preview)
        self.compare_button.toggled.connect(self.compare)
        self.restore_button.clicked.connect(self.restore)
        self.cancel_button.clicked.connect(self.cancel)
        self.fetch_button.clicked.connect(self.fetch)
        self.command_button.clicked.connect(self.copy_command)
        self.more_button.clicked.connect(self._show_more)
        self.form.changed.connect(self._chosen)
        self.planner.said.connect(self.plan.setText)
        self.preview.said.connect(self._preview_said)
        self.preview.failed.connect(self._preview_failed)
        self.preview.stale.connect(self._preview_stale)
        self._unwatch = watch(lambda: self.form.use(preferences()))
        self.destroyed.connect(_Goodbye(self))

    def _preview_said(self, told: str) -> None:
        if self.running is None:
            self._say(told)
        if not self.preview.running:
            self.preview_button.setChecked(False)
            self._say(told)


def _finished(output: Output, report: Any, known: bool) -> str:
    where = f" in {output.path}" if isinstance(output, Disk) else ""
    if report.state == "already":
        return f"This was finished before{where}, with the same choices." + (" Its layer is here." if known else "")
    resumed = f" {report.resumed} were done by an earlier run." if report.resumed else ""
    tiles = f"{report.tiles} tile{'' if report.tiles == 1 else 's'}"
    return f"Finished{where}: {tiles} in {report.seconds:.0f} s.{resumed}"


def _cancelled(output: Output) -> str:
    if isinstance(output, Lazy):
        return "Cancelled. No layer was made."
    if not isinstance(output, Disk):
        return "Cancelled. The finished tiles are in the layer that ends in (part); the rest of it is black."
    if output.file is None and not output.resumable:
        return "Cancelled. Finished tiles are kept, but this layer has no file: the next run begins again."
    command = ", and so does the copied command." if output.command else "."
    return f"Cancelled. Finished tiles are kept: Restore resumes the run{command}"


class _Goodbye:
    """End what must end when the widget is gone; it holds no widget, since there is none any more."""

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

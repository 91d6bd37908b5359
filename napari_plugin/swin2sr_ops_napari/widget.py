"""The dock widget: choose, preview, compare, restore, cancel."""

from __future__ import annotations

from swin2sr_ops_napari import check_host

check_host()

import time  # noqa: E402  (said first that napari is missing)
from collections.abc import Callable  # noqa: E402
from contextlib import suppress  # noqa: E402
from functools import partial  # noqa: E402
from typing import Any  # noqa: E402

import napari  # noqa: E402
from napari.utils.notifications import show_info  # noqa: E402
from qtpy.QtCore import QTimer  # noqa: E402
from qtpy.QtWidgets import QApplication  # noqa: E402

from swin2sr_ops import RunReport  # noqa: E402
from swin2sr_ops.errors import RequestError, Swin2SROpsError  # noqa: E402
from swin2sr_ops_napari.advising import advised, choice  # noqa: E402
from swin2sr_ops_napari.background import Background, Outcome  # noqa: E402
from swin2sr_ops_napari.calm import Calm  # noqa: E402
from swin2sr_ops_napari.choices import fetch, needs_download  # noqa: E402
from swin2sr_ops_napari.endings import ending  # noqa: E402
from swin2sr_ops_napari.live import Preview  # noqa: E402
from swin2sr_ops_napari.messages import Message  # noqa: E402
from swin2sr_ops_napari.orders import checked, output_of, point_of  # noqa: E402
from swin2sr_ops_napari.outputs import Disk, Output  # noqa: E402
from swin2sr_ops_napari.panel import Panel  # noqa: E402
from swin2sr_ops_napari.planner import Planner  # noqa: E402
from swin2sr_ops_napari.preferences import preferences, watch  # noqa: E402
from swin2sr_ops_napari.presence import drawn  # noqa: E402
from swin2sr_ops_napari.results import Results  # noqa: E402
from swin2sr_ops_napari.trusted import Trusted  # noqa: E402
from swin2sr_ops_napari.viewport import main_window  # noqa: E402

__all__ = ["RestoreWidget"]

#: Milliseconds between two looks at the tiles that came.
_GROW = 400


class RestoreWidget(Panel):
    """Restore image layers.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__(napari_viewer)
        self.viewer = napari_viewer
        self.preview = Preview(napari_viewer, self)
        self.planner = Planner()
        self.results = Results(napari_viewer, self.tell, lambda: main_window(self))
        self.form.held = lambda: self.preview.running or self.results.adding  # type: ignore[method-assign]
        self.running: Background | None = None
        self._output: Output | None = None
        self._last_command: str | None = None
        self._then: Callable[[Any], Message | str] | None = None
        self._growing: Any = None
        self._waiting: list[Any] = []
        self._calm = Calm(napari_viewer, lambda: self.running is not None or self.preview.layer is not None)
        self._grow = QTimer(self)
        self._grow.setInterval(_GROW)
        self._grow.timeout.connect(self._show_growing)
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
            self.say("")
            self._show_compare()
            return
        try:
            image, request = checked(self.form, self.form.layer)
            self._calm.keep()
            self.preview.start(self.form.layer, image, request)
        # Shown in the window, or, where it is a fault of the program, handed on to napari.
        except Exception as exc:  # noqa: BLE001
            self.stop_preview()
            self.tell(exc)
        self._show_compare()

    def compare(self, show_source: bool) -> None:
        """Show the source instead of the preview or the result, or these again."""
        self.name_compare(show_source)
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
                checked(self.form, layer)
        # As above.
        except Exception as exc:  # noqa: BLE001
            self.tell(exc)
            return
        self.stop_preview()
        self.results.begin()
        self._waiting = layers
        self._next()

    def _next(self) -> None:
        self._waiting = [layer for layer in self._waiting if layer in self.viewer.layers]
        if not self._waiting:
            return
        layer = self._waiting.pop(0)
        try:
            output = output_of(self.viewer, self.form, layer)
        # As above.
        except Exception as exc:  # noqa: BLE001
            self._waiting = []
            self.tell(exc)
            return
        self._begin(output.name, output.work, output)

    def trust(self) -> None:
        """Add a layer of how far each pixel of the restored image can be trusted."""
        if self.running is not None:
            return
        layer = self.form.layer
        try:
            image, request = checked(self.form, layer)
            lazy, point = self.form.output != "memory", point_of(self.viewer, layer)
            output = Trusted(layer, image, request, self.form.calibration(), lazy, point)
        # As above.
        except Exception as exc:  # noqa: BLE001
            self.tell(exc)
            return
        self._begin(output.name, output.work, output)

    def choose(self) -> None:
        """Answer the questions from what is measured in the image."""
        if self.running is not None:
            return
        layer = self.form.layer
        try:
            image = self.form.image()
        except Swin2SROpsError as exc:
            self.tell(exc)
            return
        self._begin("Measuring the image", lambda tell, stop: advised(image), None, partial(self._answer, layer))

    def _answer(self, layer: Any, report: Any) -> Message:
        found = choice(report)
        if self.form.layer is not layer:
            return Message(
                f"{layer.name!r} was measured, and another image is chosen now: press 'Choose for me' again.",
                found.message.more,
            )
        if found.task is not None and found.quality is not None:
            self.form.answer(found.task, found.quality, found.range)
        return found.message

    def fetch(self) -> None:
        """Download the weights of the chosen model, once."""
        try:
            spec = self.form.spec()
        except RequestError as exc:
            self.tell(exc)
            return
        self._begin(
            f"Downloading {spec.name}", lambda tell, stop: fetch(spec), None,
            lambda _path: "The model is on this computer now.",
        )  # fmt: skip

    def cancel(self) -> None:
        """Stop after the current tile; finished tiles are kept."""
        self._waiting = []
        if self.running is not None:
            self.running.cancel()
            self.cancel_button.setEnabled(False)
            self.say("Stopping after the current tile ...")

    def wait(self, seconds: float = 3600.0) -> None:
        """Process the window's events until the run has ended, for scripts.

        Raises
        ------
        TimeoutError
            It runs longer than ``seconds``.
        """
        end = time.monotonic() + seconds
        with suppress(RuntimeError):  # the window was closed, which cancels the run
            while self.running is not None or not drawn(main_window(self)):
                if time.monotonic() > end:
                    raise TimeoutError(f"The run has not ended within {seconds:g} s: {self.status.text()}")
                QApplication.processEvents()
                time.sleep(0.01)

    def copy_command(self) -> None:
        """Put the command that runs or resumes the same into the clipboard."""
        command = self.command
        if command is not None:
            QApplication.clipboard().setText(command)
            show_info("The command is in the clipboard.")

    @property
    def command(self) -> str | None:
        """The command that resumes the last run on disk, where its layer shows a file."""
        return self._output.command if isinstance(self._output, Disk) else self._last_command

    # --- a run --------------------------------------------------------------------------------

    def _begin(
        self, title: str, work: Any, output: Output | None, then: Callable[[Any], Message | str] | None = None
    ) -> None:
        """Run ``work``; its result goes to the layers of ``output``, or to ``then``, which returns what to say."""
        self._output, self._then, self._last_command = output, then, None
        run = self.running = Background(title, work, keeps=output is not None and output.keeps)
        run.moved.connect(self._moved)
        run.ended.connect(self._ended)
        self._calm.keep()
        self.say("Loading the model ..." if output is not None else f"{title} ...")
        self.bar.show()
        self.bar.setRange(0, 0)
        self._chosen()
        QTimer.singleShot(0, self._start)

    def _start(self) -> None:
        """Show the layer that grows, while nothing is computed: napari takes its time for a new layer. Then start."""
        if self.running is None:
            return
        output = self._output
        try:
            shown = None if output is None or self.running.cancelled else output.show_growing()
            if output is not None and shown is not None:
                self._growing = self.results.add(*shown, output.layer)
        # Shown in the window; otherwise it would wait for a run that never starts.
        except Exception as exc:  # noqa: BLE001
            self._ended(Outcome(error=exc))
            return
        self.running.start()
        self._grow.start()

    def _moved(self, message: str, done: int, total: int) -> None:
        self.bar.setRange(0, max(total, 1))
        self.bar.setValue(done)
        if self.running is not None and not self.running.cancelled:
            self.say(message)

    def _show_growing(self) -> None:
        """Show the tiles that came since the last look."""
        output = self._output
        if output is not None and output.grown() and self._growing is not None and self._growing in self.viewer.layers:
            self._growing.refresh(extent=False, highlight=False)

    def _ended(self, outcome: Outcome) -> None:
        self._grow.stop()
        self.running, output, then = None, self._output, self._then
        self.bar.setRange(0, 1)
        self.bar.setValue(int(outcome.error is None))
        known = False
        try:
            if output is not None:
                known = self.results.take(output, outcome, self._growing)
        # Shown in the window, as an error of the run would be.
        except Exception as exc:  # noqa: BLE001
            outcome = Outcome(error=exc)
        finally:
            # The run's arrays belong to its layers now: a layer that is removed takes its pixels with it.
            self._last_command = self.command
            self._growing = self._output = self._then = None
            self._chosen()
        if outcome.error is not None and not outcome.stopped:
            left, self._waiting = len(self._waiting), []
            self.tell(outcome.error)
            if left and output is not None:
                self.say(f"{output.layer.name!r}: {self.status.text()} ({left} more not begun)")
            return
        if output is not None:
            report = outcome.result if isinstance(outcome.result, RunReport) else ""
            self.say(ending(output, outcome, known), str(report))
        elif outcome.stopped or then is None:
            self.say("Cancelled.")
        else:
            self.say(then(outcome.result))
        if self._waiting:
            self._next()

    # --- reacting and building ----------------------------------------------------------------

    def _chosen(self) -> None:
        """Let buttons, plan and preview follow what is chosen and what runs."""
        busy = self.running is not None
        for button in (self.restore_button, self.trust_button, self.form.choose_button):
            button.setEnabled(not busy)
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
            count = len(self.form.selected())
            self.planner.show(image, request, probe=probe, count=count, beside=self.form.beside())
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

    def leave(self) -> None:
        """End the run and the preview; finished tiles are kept, as after Cancel."""
        self.cancel()
        self.preview.leave()
        self._calm.end()
        self.planner.close()
        self.form.disconnect_viewer()
        self.results.disconnect_viewer()
        self._unwatch()

    def _connect(self) -> None:
        self.preview_button.toggled.connect(self._toggle_preview)
        self.compare_button.toggled.connect(self.compare)
        self.restore_button.clicked.connect(self.restore)
        self.trust_button.clicked.connect(self.trust)
        self.form.choose_button.clicked.connect(self.choose)
        self.cancel_button.clicked.connect(self.cancel)
        self.fetch_button.clicked.connect(self.fetch)
        self.command_button.clicked.connect(self.copy_command)
        self.more_button.clicked.connect(self._show_more)
        self.form.changed.connect(self._chosen)
        self.form.trust_box.toggled.connect(lambda _: self._plan())
        self.form.calibration_edit.textChanged.connect(lambda _: self._plan())
        self.planner.said.connect(self.plan.setText)
        self.preview.said.connect(self._preview_said)
        self.preview.failed.connect(self._preview_failed)
        self.preview.stale.connect(self._preview_stale)
        self._unwatch = watch(lambda: self.form.use(preferences()))
        self.destroyed.connect(_Goodbye(self))

    def _preview_said(self, message: str) -> None:
        if self.running is None:
            self.say(message)
        if not self.preview.running:
            self.preview_button.setChecked(False)
            self.say(message)


class _Goodbye:
    """End what must end when the widget is gone; it holds no widget, since there is none any more."""

    def __init__(self, widget: RestoreWidget) -> None:
        self._parts = widget.preview, widget._calm, widget.form, widget.results, widget._unwatch
        self._widget = widget.__dict__

    def __call__(self, _object: Any = None) -> None:
        preview, calm, form, results, unwatch = self._parts
        preview.close()
        calm.end()
        form.disconnect_viewer()
        results.disconnect_viewer()
        unwatch()
        running: Background | None = self._widget.get("running")
        if running is not None:
            running.cancel()
            self._widget["running"] = None  # for a script that waits

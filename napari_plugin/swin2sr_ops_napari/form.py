"""Define the form: image, task, quality, and all other settings under Advanced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from napari.layers import Image
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog

from swin2sr_ops import ModelSpec
from swin2sr_ops.errors import RequestError, Swin2SROpsError
from swin2sr_ops.hosting import CHUNK, Halo, resolve_model
from swin2sr_ops_napari.choices import Choice, advice, choices, overlaps
from swin2sr_ops_napari.controls import OUTPUTS, Controls
from swin2sr_ops_napari.layers import LayerImage, describe, is_named, is_own
from swin2sr_ops_napari.paths import checked, proposed
from swin2sr_ops_napari.preferences import Preferences, preferences
from swin2sr_ops_napari.quality import QUALITIES, Answer, answers
from swin2sr_ops_napari.request import Request
from swin2sr_ops_napari.words import NUMBERS, guesses, range_of, sizes

__all__ = ["OUTPUTS", "Form"]

_ABOVE, _FILE, _MORE = "above", "choose a file", "more"


class Form(Controls):
    """The controls; `request` and `image` say what was chosen, or raise a sentence."""

    changed = Signal()
    """Something that decides the pixels, or where they go."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer, self._quiet, self._all, self._files = viewer, False, False, list[str]()
        self._layers: list[Any] = []
        self._connect()
        self._fill_qualities()
        self.use(preferences())
        self.fill_layers()

    # --- what was chosen ----------------------------------------------------------------------

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        row = self.layer_box.currentIndex()
        return self._layers[row] if 0 <= row < len(self._layers) else None

    def selected(self) -> list[Any]:
        """The chosen layer, and with it the other image layers that are selected in napari, from the bottom up."""
        chosen = [la for la in self._viewer.layers if la in self._layers and la in self._viewer.layers.selection]
        return chosen if self.layer is not None and self.layer in chosen else [self.layer]

    def image(self, layer: Any = None) -> LayerImage:
        """Return the image of ``layer``, or of the chosen one, checked."""
        layer = self.layer if layer is None else layer
        own = self.axes_edit.text().strip() or None
        return describe(layer, own if layer is not None and layer == self.layer else None)

    def request(self, layer: Any = None) -> Request:
        """Return what is to be done with ``layer``, or with the chosen one."""
        chosen = self.overlap_box.currentData()
        halo: Halo = "exact" if chosen in (None, "exact") else int(chosen)
        planes = self.spec().planes  # refuses a choice that is not a model
        colours = self._colours(layer)
        return Request(
            model=self._model_name(colours),
            halo=halo,
            range=range_of(self.range_box.currentText(), self._limits(layer)),
            device=self.device_box.currentText().strip() or "auto",
            engine=self.engine_box.currentText(),
            ensemble=1 if self._by_name() else self._answer().ensemble,
            consistent="mean" if self.consistent_box.isChecked() and self.consistent_box.isEnabled() else None,
            along=(self.along_box.currentData() or None) if planes > 1 else None,
            chunks=None if self.chunk_box.currentText() == str(CHUNK) else int(self.chunk_box.currentText()),
            memory_share=self.preferences.memory_share,
        )

    def spec(self) -> ModelSpec:
        """Return the chosen model."""
        name = self._model_name(self._colours())
        if not name or name in (_FILE, _MORE):
            raise RequestError("No model is chosen: choose one in the box 'Model' under Advanced.")
        return resolve_model(name)

    def _by_name(self) -> bool:
        return str(self.model_box.currentData()) not in (_ABOVE, "None")

    def _model_name(self, colours: int) -> str:
        return str(self.model_box.currentData()) if self._by_name() else self._answer().model(colours)

    def _answer(self) -> Answer:
        found = answers(self.task_box.currentData())
        return next((a for a in found if a.quality == self.quality_box.currentData()), found[0])

    @property
    def output(self) -> str:
        """``memory``, ``lazy`` or ``disk``."""
        return str(self.output_box.currentData())

    def path(self) -> str:
        """Return where the OME-Zarr goes, checked before anything runs."""
        return checked(str(self.path_edit.text()).strip())

    def beside(self) -> int:
        """Return the bytes that the trust map stores beside each value of the result; 0 without one."""
        if self.output != "disk" or not self.trust_box.isChecked():
            return 0
        views = not self._by_name() and self._answer().ensemble > 1
        return 4 if views or self.calibration() else 1  # float32, or flags

    def calibration(self) -> str:
        """Return the path of the calibration for trust layers; empty for none."""
        return str(self.calibration_edit.text()).strip()

    def _limits(self, layer: Any = None) -> tuple[float, float]:
        layer = self.layer if layer is None else layer
        low, high = (0, 255) if layer is None or layer.rgb else layer.contrast_limits
        return float(low), float(high)

    # --- filling ------------------------------------------------------------------------------

    def use(self, found: Preferences) -> None:
        """Take the preferences over."""
        self.preferences = found
        with self._silent():
            self.device_box.setCurrentText(found.device)
            if found.model in QUALITIES:  # a preference such as "fast" answers the form's question
                self.quality_box.setCurrentIndex(max(self.quality_box.findData(found.model), 0))
            self._fill_models(None if found.model in ("auto", *QUALITIES) else found.model)

    def fill_layers(self, _event: Any = None) -> None:
        """List the viewer's image layers, keeping the choice."""
        before = self.layer
        found = [la for la in self._viewer.layers if isinstance(la, Image) and not is_own(la)]
        found.reverse()  # as the layer list shows them
        with self._silent():
            self.layer_box.clear()
            self.layer_box.addItems([layer.name for layer in found])
            self._layers = found
            active = self._viewer.layers.selection.active
            wanted = next((la for la in (before, active, *found) if la is not None and la in found), None)
            self.layer_box.setCurrentIndex(-1 if wanted is None else found.index(wanted))
        if self.layer != before:
            self._layer_chosen()

    def _selection_moved(self, _event: Any = None) -> None:
        """Follow the layer that was opened or selected."""
        active = self._viewer.layers.selection.active
        if active is not None and active in self._layers and active != self.layer and not self.held():
            self.layer_box.setCurrentIndex(self._layers.index(active))

    def held(self) -> bool:
        """True if the chosen layer must stay: a preview runs, and its layer's sliders must be reachable."""
        return False

    def _colours(self, layer: Any = None) -> int:
        try:
            return self.image(layer).order().model_channels
        except Swin2SROpsError:
            return 1

    def _fill_qualities(self) -> None:
        before = self.quality_box.currentData() or "good"
        with self._silent():
            self.quality_box.clear()
            for answer in answers(self.task_box.currentData()):
                self.quality_box.addItem(QUALITIES[answer.quality], answer.quality)
            self.quality_box.setCurrentIndex(max(self.quality_box.findData(before), 0))

    def _fill_models(self, wanted: str | None = None) -> None:
        """List models that fit the layer's channels, grouped by task; others on request."""
        wanted = wanted or self.model_box.currentData() or _ABOVE
        found = choices(self._colours())
        box = self.model_box
        box.clear()
        box.addItem("By the answers above", _ABOVE)
        shown = [c for c in found if c.fits or self._all or c.name == wanted]
        group = ""
        for choice in shown:
            if choice.group != group:
                group = choice.group
                self._add_heading(group)
            box.addItem(choice.label, choice.name)
        if self._files:
            self._add_heading("Your files")
        for path in self._files:
            box.addItem(Path(path).name, path)
        if not self._all and len(shown) < len(found):
            box.addItem("Models for other channels ...", _MORE)
        box.addItem("A file ...", _FILE)
        row = box.findData(wanted) if self._fits(wanted, found) else 0
        box.setCurrentIndex(max(row, 0))
        self._model_chosen()

    def _fits(self, name: str | None, found: list[Choice]) -> bool:
        """Return True if a model in the list may stay: one for other channels only if all are shown."""
        return self._all or all(c.fits or c.name != name for c in found)

    def _add_heading(self, text: str) -> None:
        self.model_box.addItem(text)
        item = self.model_box.model().item(self.model_box.count() - 1)
        item.setEnabled(False)

    # --- reacting -----------------------------------------------------------------------------

    def _layer_chosen(self) -> None:
        with self._silent():
            self.axes_edit.clear()
            self._fill_models()
            self._propose_path()
        self._show_axes()
        self._tell()

    def _show_axes(self) -> None:
        """Say which axis is taken for what, where the layer does not name them."""
        layer = self.layer
        unnamed = layer is not None and layer.ndim > 2 and not is_named(layer.axis_labels)
        self.axes_row.setVisible(unnamed)
        with suppress(Swin2SROpsError):
            image = self.image() if layer is not None else None
            self.axes_edit.setPlaceholderText("" if image is None else image.axes)
            if unnamed and image is not None:
                self.axes_note.setText(f"Taken as {sizes(image.axes, image.shape)}.")

    def change_axes(self) -> None:
        """Take the dimensions for the next likely thing."""
        layer = self.layer
        known = () if layer is None else guesses(layer.ndim, layer.rgb)
        if known:
            now = self.image().axes
            self.axes_edit.setText(known[(known.index(now) + 1) % len(known)] if now in known else known[0])
            self._axes_given()

    def _model_activated(self) -> None:
        chosen = self.model_box.currentData()
        if chosen == _MORE:
            self._all = True
            with self._silent():
                self._fill_models(_ABOVE)
            self.model_box.showPopup()
        elif chosen == _FILE:
            path, _ = QFileDialog.getOpenFileName(self, "Model", "", "Models (*.pth *.pt *.safetensors);;All (*)")
            if path:
                self.add_model(path)
                return
            with self._silent():
                self._fill_models(_ABOVE)
        self._model_chosen()
        self._tell()

    def add_model(self, path: str) -> None:
        """List a checkpoint, and choose it."""
        if path not in self._files:
            self._files.append(path)
        self.choose_model(path)

    def choose_model(self, name: str) -> None:
        """Choose one of the list."""
        with self._silent():
            self._fill_models(name)
        self._tell()

    def answer(self, task: str, quality: str, intensities: str | None = None) -> None:
        """Answer the questions for the person; ``intensities`` is a range, None to leave it."""
        with self._silent():
            self._fill_models(_ABOVE)
            self.task_box.setCurrentIndex(self.task_box.findData(task))
            self._fill_qualities()
            self.quality_box.setCurrentIndex(self.quality_box.findData(quality))
            if intensities is not None:
                self.range_box.setCurrentText(intensities)
        self._model_chosen()
        self._tell()

    def _model_chosen(self) -> None:
        by_name = self._by_name()
        self.task_box.setEnabled(not by_name)
        self.quality_box.setEnabled(not by_name)
        try:
            spec = self.spec()
        except Swin2SROpsError as exc:
            self.advice.setText(str(exc))
            self.model_note.setText("")
            return
        self.model_note.setText(f"Model: {spec.name}" + (", chosen under Advanced" if by_name else ""))
        self.show_along(spec.planes > 1)
        self.consistent_box.setEnabled(spec.scale > 1)  # else the new pixel would be the old one
        self.advice.setText(advice(spec, self._colours()))
        before = self.overlap_box.currentData()
        with self._silent():
            self.overlap_box.clear()
            for halo, label in overlaps(spec):
                self.overlap_box.addItem(label, halo)
            self.overlap_box.setCurrentIndex(max(self.overlap_box.findData(before), 0))
            self._propose_path()

    def _task_chosen(self) -> None:
        self._fill_qualities()
        self._model_chosen()
        self._tell()

    def _quality_chosen(self) -> None:
        self._model_chosen()
        self._tell()

    def _range_chosen(self, text: str) -> None:
        if text == NUMBERS:
            low, high = self._limits()
            self.range_box.setEditText(f"{low:g}, {high:g}")  # to be edited
        else:
            self._tell()

    def _output_chosen(self) -> None:
        self.show_disk(self.output == "disk")
        self._propose_path()
        self._tell()

    def _propose_path(self) -> None:
        """Propose a path, until the person has written one."""
        layer = self.layer
        if layer is None or self.path_edit.isModified():
            return
        with suppress(Swin2SROpsError):
            self.path_edit.setText(proposed(layer, self.spec().scale, self.path_edit.text()))

    def _browse(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "OME-Zarr", self.path_edit.text(), "OME-Zarr (*.zarr)",
            options=QFileDialog.Option.DontConfirmOverwrite | QFileDialog.Option.DontUseNativeDialog,
        )  # fmt: skip
        if path:
            self.path_edit.setText(path if path.endswith(".zarr") else f"{path}.ome.zarr")
            self.path_edit.setModified(True)

    def _browse_calibration(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Calibration", "", "Calibrations (*.json);;All (*)")
        if path:
            self.calibration_edit.setText(path)

    def _tell(self, *_: Any) -> None:
        if not self._quiet:
            self.changed.emit()

    @contextmanager
    def _silent(self) -> Iterator[None]:
        before, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = before

    def _axes_given(self) -> None:
        self._fill_models()
        self._show_axes()
        self._tell()

    def _connect(self) -> None:
        self.layer_box.currentIndexChanged.connect(lambda _: None if self._quiet else self._layer_chosen())
        self.task_box.currentIndexChanged.connect(lambda _: None if self._quiet else self._task_chosen())
        self.quality_box.currentIndexChanged.connect(lambda _: None if self._quiet else self._quality_chosen())
        self.model_box.activated.connect(lambda _: self._model_activated())
        self.axes_edit.editingFinished.connect(self._axes_given)
        self.axes_button.clicked.connect(self.change_axes)
        self.overlap_box.activated.connect(self._tell)
        self.along_box.activated.connect(self._tell)
        self.range_box.currentTextChanged.connect(self._range_chosen)
        for part in (self.device_box, self.engine_box, self.chunk_box):
            part.currentTextChanged.connect(self._tell)
        self.output_box.currentIndexChanged.connect(lambda _: self._output_chosen())
        self.browse.clicked.connect(self._browse)
        self.calibration_browse.clicked.connect(self._browse_calibration)
        self.consistent_box.toggled.connect(self._tell)
        for event, slot in self._wires():
            event.connect(slot)

    def _wires(self) -> list[tuple[Any, Any]]:
        layers = self._viewer.layers
        events = (layers.events.inserted, layers.events.removed, layers.events.reordered, layers.events.renamed)
        return [
            *((event, self.fill_layers) for event in events),
            (layers.selection.events.active, self._selection_moved),
        ]

    def disconnect_viewer(self) -> None:
        """Disconnect from the viewer."""
        for event, slot in self._wires():
            with suppress(ValueError, RuntimeError, KeyError):
                event.disconnect(slot)

"""What a person chooses: layer, model, overlap, intensity range, device, engine, output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QWidget,
)

from swin2sr_ops import ModelSpec
from swin2sr_ops.errors import RequestError, Swin2SROpsError
from swin2sr_ops.hosting import ENGINES, Halo, resolve_model
from swin2sr_ops_napari.choices import advice, choices, overlaps
from swin2sr_ops_napari.layers import LayerImage, describe
from swin2sr_ops_napari.preferences import Preferences, preferences
from swin2sr_ops_napari.request import Request

__all__ = ["OUTPUTS", "Form"]

#: Where results go.
OUTPUTS = {
    "memory": "New layer, in memory",
    "lazy": "Lazy layer, computed where you look",
    "disk": "OME-Zarr on disk",
}
_RANGES = ("auto", "dtype", "p1,p99.8", "contrast limits")
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
_FILE, _MORE = "choose a file", "more"


class Form(QWidget):
    """The controls; `request` and `image` say what was chosen, or raise a sentence."""

    changed = Signal()
    """Something that decides the pixels."""

    def __init__(self, viewer: Any) -> None:
        super().__init__()
        self._viewer, self._quiet, self._all, self._files = viewer, False, False, list[str]()
        self.layer_box, self.model_box, self.overlap_box = _combo(), _combo(), _combo()
        self.device_box, self.engine_box = _combo(*_DEVICES), _combo(*ENGINES)
        self.range_box, self.output_box = _combo(*_RANGES), _combo()
        self.range_box.setEditable(True)
        self.device_box.setEditable(True)
        self.axes_edit, self.advice = QLineEdit(), QLabel()
        self.advice.setWordWrap(True)
        self.advice.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.MinimumExpanding)
        self.path_edit, self.browse, self.replace = QLineEdit(), QPushButton("..."), QCheckBox("replace what is there")
        for kind, label in OUTPUTS.items():
            self.output_box.addItem(label, kind)
        self._arrange()
        self._tips()
        self._connect()
        self.use(preferences())
        self.fill_layers()

    # --- what was chosen ----------------------------------------------------------------------

    @property
    def layer(self) -> Any:
        """The chosen layer, or None."""
        name = self.layer_box.currentText()
        return self._viewer.layers[name] if name and name in self._viewer.layers else None

    def image(self) -> LayerImage:
        """Its image, checked."""
        return describe(self.layer, self.axes_edit.text().strip() or None)

    def request(self) -> Request:
        """What is to be done with it."""
        chosen = self.overlap_box.currentData()
        halo: Halo = "exact" if chosen in (None, "exact") else int(chosen)
        self.spec()  # refuses what is none
        return Request(
            model=self.model_box.currentData(),
            halo=halo,
            range=self._range(),
            device=self.device_box.currentText().strip() or "auto",
            engine=self.engine_box.currentText(),
            memory_share=self.preferences.memory_share,
        )

    def spec(self) -> ModelSpec:
        """The chosen model."""
        name = self.model_box.currentData()
        if not name or name in (_FILE, _MORE):
            raise RequestError("There is no model for this layer: choose one.")
        return resolve_model(name)

    @property
    def output(self) -> str:
        """``memory``, ``lazy`` or ``disk``."""
        return str(self.output_box.currentData())

    def path(self) -> str:
        """Where the OME-Zarr goes."""
        text = self.path_edit.text().strip()
        if not text:
            raise RequestError("The output 'OME-Zarr on disk' needs a place: write a path that ends in .ome.zarr.")
        return text if "://" in text else str(Path(text).expanduser())

    def _range(self) -> str:
        text = self.range_box.currentText().strip() or "auto"
        if text != "contrast limits":
            return text
        low, high = self.layer.contrast_limits
        return f"{low:g},{high:g}"

    # --- filling ------------------------------------------------------------------------------

    def use(self, found: Preferences) -> None:
        """Take the preferences over."""
        self.preferences = found
        with self._silent():
            self.device_box.setCurrentText(found.device)
            self._fill_models(found.model)

    def fill_layers(self, _event: Any = None) -> None:
        """List the viewer's layers, keeping the choice."""
        from swin2sr_ops_napari.live import MARK

        before, active = self.layer_box.currentText(), self._viewer.layers.selection.active
        names = [la.name for la in self._viewer.layers if MARK not in la.metadata]
        names.reverse()  # as the layer list shows them
        with self._silent():
            self.layer_box.clear()
            self.layer_box.addItems(names)
            if before not in names:
                images = [n for n in names if type(self._viewer.layers[n]).__name__ != "Labels"]
                chosen = active.name if active is not None and active.name in names else (images or names or [""])[0]
                self.layer_box.setCurrentText(chosen)
            else:
                self.layer_box.setCurrentText(before)
        if self.layer_box.currentText() != before:
            self._layer_chosen()

    def _colours(self) -> int:
        try:
            return self.image().order().model_channels
        except Swin2SROpsError:
            return 1

    def _fill_models(self, wanted: str | None = None) -> None:
        """Models that fit the layer's channels; others on request."""
        wanted = wanted or self.model_box.currentData()
        colours = self._colours()
        found = choices(colours)
        self.model_box.clear()
        for choice in found:
            if choice.fits or self._all:
                self.model_box.addItem(choice.label, choice.name)
        for path in self._files:
            self.model_box.addItem(Path(path).name, path)
        if not self._all and not all(choice.fits for choice in found):
            self.model_box.addItem("Models for other channels ...", _MORE)
        self.model_box.addItem("A file ...", _FILE)
        row = self.model_box.findData(wanted)
        if row < 0 and wanted not in (None, "auto") and any(c.name == wanted for c in found):
            row = -1  # for other channels: the shipped one that fits is taken instead
        if row < 0:
            with suppress(Swin2SROpsError):
                row = self.model_box.findData(resolve_model("auto", channels=colours).name)
        self.model_box.setCurrentIndex(max(row, 0))
        self._model_chosen()

    # --- reacting -----------------------------------------------------------------------------

    def _layer_chosen(self) -> None:
        with self._silent():
            self._fill_models()
            self.axes_edit.clear()
            try:
                self.axes_edit.setPlaceholderText(describe(self.layer).axes)
            except Swin2SROpsError:
                self.axes_edit.setPlaceholderText("")
            self._propose_path()
        self._tell()

    def _model_activated(self) -> None:
        chosen = self.model_box.currentData()
        if chosen == _MORE:
            self._all = True
            with self._silent():
                self._fill_models()
            self.model_box.showPopup()
        elif chosen == _FILE:
            path, _ = QFileDialog.getOpenFileName(self, "Model", "", "Models (*.pth *.pt *.safetensors);;All (*)")
            if path:
                self.add_model(path)
                return
            with self._silent():
                self._fill_models("auto")
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

    def _model_chosen(self) -> None:
        try:
            spec = self.spec()
        except Swin2SROpsError as exc:
            self.advice.setText(str(exc))
            return
        self.advice.setText(advice(spec, self._colours()))
        before = self.overlap_box.currentData()
        with self._silent():
            self.overlap_box.clear()
            for halo, label in overlaps(spec):
                self.overlap_box.addItem(label, halo)
            self.overlap_box.setCurrentIndex(max(self.overlap_box.findData(before), 0))
            self._propose_path()

    def _output_chosen(self) -> None:
        disk = self.output == "disk"
        for part in (self._path_row, self.replace):
            part.setVisible(disk)
        self._propose_path()

    def _propose_path(self) -> None:
        """A name in the folder where results were put last, or the user's own."""
        if self.layer is None or self.path_edit.isModified():
            return
        with suppress(Swin2SROpsError):
            name = "".join(c if c.isalnum() or c in " -_." else "_" for c in self.layer.name).strip().replace(" ", "_")
            folder = Path(self.path_edit.text() or Path.home() / "x").parent
            self.path_edit.setText(str(folder / f"{name}_x{self.spec().scale}.ome.zarr"))

    def _browse(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "OME-Zarr", self.path_edit.text(), "OME-Zarr (*.zarr)",
            options=QFileDialog.Option.DontConfirmOverwrite | QFileDialog.Option.DontUseNativeDialog,
        )  # fmt: skip
        if path:
            self.path_edit.setText(path if path.endswith(".zarr") else f"{path}.ome.zarr")
            self.path_edit.setModified(True)

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

    # --- building -----------------------------------------------------------------------------

    def _arrange(self) -> None:
        rows = QFormLayout(self)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self._path_row = QWidget()
        line = QHBoxLayout(self._path_row)
        line.setContentsMargins(0, 0, 0, 0)
        line.addWidget(self.path_edit)
        line.addWidget(self.browse)
        self.browse.setFixedWidth(32)
        for label, part in (
            ("layer", self.layer_box), ("axes", self.axes_edit), ("model", self.model_box), ("", self.advice),
            ("overlap", self.overlap_box), ("range", self.range_box), ("device", self.device_box),
            ("engine", self.engine_box), ("output", self.output_box), ("", self._path_row), ("", self.replace),
        ):  # fmt: skip
            rows.addRow(label, part)
        self._path_row.hide()
        self.replace.hide()

    def _tips(self) -> None:
        for part, tip in (
            (self.layer_box, "The image to restore."),
            (self.axes_edit, "One letter per dimension, where the grey ones are wrong: T, C, Z, Y, X; S for RGB."),
            (self.model_box, "Models that fit the layer's channels. Nothing is loaded until it is used."),
            (self.overlap_box, "What a tile reads around itself. 'exact': as if the image were restored in one piece."),
            (self.range_box, "Stored values that the network sees as 0 and 1: auto, dtype, LOW,HIGH or percentiles."),
            (self.device_box, "Where the network runs; 'auto' takes a GPU if there is one. Also cuda:1 and the like."),
            (
                self.engine_box,
                "Who computes: 'auto' is native on a CPU with a C compiler, triton on a CUDA GPU, else torch.",
            ),
            (self.output_box, "Whatever does not fit into memory goes to disk, or is computed where you look."),
            (self.path_edit, "A folder ending in .ome.zarr. A run that was stopped there is gone on with."),
            (self.replace, "Replace another image of this name, once the new one is finished."),
        ):
            part.setToolTip(tip)

    def _axes_given(self) -> None:
        self._fill_models()
        self._tell()

    def _connect(self) -> None:
        self.layer_box.currentIndexChanged.connect(lambda _: None if self._quiet else self._layer_chosen())
        self.model_box.activated.connect(lambda _: self._model_activated())
        self.axes_edit.editingFinished.connect(self._axes_given)
        self.overlap_box.activated.connect(self._tell)
        for part in (self.range_box, self.device_box, self.engine_box):
            part.currentTextChanged.connect(self._tell)
        self.output_box.currentIndexChanged.connect(lambda _: self._output_chosen())
        self.browse.clicked.connect(self._browse)
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self.fill_layers)

    def disconnect_viewer(self) -> None:
        """Listen no more."""
        events = self._viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            with suppress(ValueError, RuntimeError):
                event.disconnect(self.fill_layers)


def _combo(*items: str) -> QComboBox:
    """A list that does not make the window as wide as its longest line."""
    box = QComboBox()
    box.addItems(list(items))
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(16)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box

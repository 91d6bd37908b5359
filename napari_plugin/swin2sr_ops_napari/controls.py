"""The boxes of the form: names, tooltips and their place in the window."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from swin2sr_ops.hosting import ENGINES
from swin2sr_ops_napari.quality import TASKS
from swin2sr_ops_napari.words import RANGES

__all__ = ["OUTPUTS", "Controls", "Scroll"]

#: Where results go.
OUTPUTS = {
    "memory": "New layer, in memory",
    "lazy": "Lazy layer: restored where you look",
    "disk": "OME-Zarr on disk",
}
#: Axis of neighbouring planes, for models that take them.
ALONG = {"": "auto", "Z": "Z, depth", "T": "T, time"}
#: Least height of the form in pixels.
_LEAST = 150
_DEVICES = ("auto", "cpu", "cuda", "mps", "xpu")
_CHUNKS = ("512", "256", "1024")


class Controls(QWidget):
    """Three questions, and a part that is closed at first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer_box, self.task_box, self.quality_box = _combo(), _combo(), _combo()
        self.model_note, self.axes_note = _small(), _small()
        self.axes_button, self.choose_button = QPushButton("Not so: change"), QPushButton("Choose for me")
        self.model_box, self.overlap_box, self.output_box = _combo(), _combo(), _combo()
        self.along_box = _combo()
        for letter, label in ALONG.items():
            self.along_box.addItem(label, letter)
        self.advice = _small()
        self.device_box, self.engine_box, self.range_box = _combo(*_DEVICES), _combo(*ENGINES), _combo(*RANGES)
        self.chunk_box = _combo(*_CHUNKS)
        for box in (self.range_box, self.device_box):
            box.setEditable(True)
        self.axes_edit, self.path_edit = QLineEdit(), QLineEdit()
        self.browse, self.replace = QPushButton("..."), QCheckBox("Replace what is there")
        self.trust_box = QCheckBox("Write the trust map, too")
        self.consistent_box = QCheckBox("Keep the measured intensities")
        self.calibration_edit, self.calibration_browse = QLineEdit(), QPushButton("...")
        self.calibration_edit.setPlaceholderText("none")
        for task, label in TASKS.items():
            self.task_box.addItem(label, task)
        for kind, label in OUTPUTS.items():
            self.output_box.addItem(label, kind)
        self.advanced_button, self.advanced = QToolButton(), QWidget()
        self._arrange()
        self._explain()

    def show_advanced(self, shown: bool) -> None:
        """Open or close the second part."""
        self.advanced_button.setChecked(shown)

    def show_disk(self, shown: bool) -> None:
        """Show or hide the boxes of an output on disk."""
        self._show(shown, self.path_row, self.replace, self.trust_box, self.chunk_box)

    def show_along(self, shown: bool) -> None:
        """Show or hide the box of a model that takes neighbouring planes."""
        self._show(shown, self.along_box)

    def _show(self, shown: bool, *parts: QWidget) -> None:
        for part in parts:
            part.setVisible(shown)
            name = self._rows.labelForField(part)
            if name is not None:
                name.setVisible(shown)

    def _arrange(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        axes = _row(self.axes_note, self.axes_button)
        self.axes_row = axes
        column.addLayout(
            _rows(
                ("Image", self.layer_box), ("", axes), ("What to do", self.task_box), ("How well", self.quality_box),
                ("", _row(self.model_note, self.choose_button)),
            )
        )  # fmt: skip
        button = self.advanced_button
        button.setText("Advanced")
        button.setCheckable(True)
        button.setAutoRaise(True)
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        button.setArrowType(Qt.ArrowType.RightArrow)
        button.toggled.connect(self._advanced_toggled)
        column.addWidget(button)
        for button in (self.browse, self.calibration_browse):
            button.setFixedWidth(32)
        self.path_row = _row(self.path_edit, self.browse)
        self._rows = _rows(
            ("Result", self.output_box), ("Folder", self.path_row), ("", self.replace),
            ("", self.trust_box), ("Chunks", self.chunk_box),
            ("Model", self.model_box), ("", self.advice), ("Intensity range", self.range_box),
            ("", self.consistent_box), ("Axes", self.axes_edit), ("Neighbours along", self.along_box),
            ("Overlap", self.overlap_box),
            ("Device", self.device_box), ("Engine", self.engine_box),
            ("Calibration", _row(self.calibration_edit, self.calibration_browse)),
        )  # fmt: skip
        self.advanced.setLayout(self._rows)
        column.addWidget(self.advanced)
        self.advanced.hide()
        self.show_disk(False)
        self.show_along(False)
        self.axes_row.hide()

    def _advanced_toggled(self, shown: bool) -> None:
        self.advanced.setVisible(shown)
        self.advanced_button.setArrowType(Qt.ArrowType.DownArrow if shown else Qt.ArrowType.RightArrow)

    def _explain(self) -> None:
        for part, tip in (
            (self.layer_box, "The image layer to restore. Follows the layer that you open or select in napari."),
            (self.axes_button, "Take the dimensions for something else: time, depth or channels."),
            (self.task_box, "Enlarge: more pixels, and sharper. Clean: the same number of pixels, less noise."),
            (self.quality_box, "fast: to look around. good: for most work. best: mirrored and rotated views averaged."),
            (
                self.choose_button,
                "Measure noise, JPEG traces and sharpness of the image, answer the two questions, and say why.",
            ),
            (self.model_note, "The neural network that these answers choose. Others are under Advanced."),
            (self.advanced_button, "Where the result goes, other models, and how they compute."),
            (self.output_box, "A new layer; a layer that is computed where you look; or files for large images."),
            (self.path_edit, "A folder that ends in .ome.zarr. Restore resumes a run that was stopped there."),
            (self.browse, "Choose the folder."),
            (self.replace, "Replace another image of this name once the new one is finished."),
            (
                self.trust_box,
                "Also store how far each pixel can be trusted, and show it as a layer: how much the eight views of best"
                " differ, by how much a pixel may be off with a calibration, else flags where the result contradicts"
                " the original.",
            ),
            (self.chunk_box, "Pixels along the side of a stored piece."),
            (self.model_box, "A network by name, instead of the two answers above."),
            (
                self.range_box,
                "Which stored values are black and white for the network. Values outside are kept. Percentiles such"
                " as p1,p99.8 can be written too.",
            ),
            (self.axes_edit, "One letter per dimension: T time, C channel, Z depth, Y rows, X columns; S for colour."),
            (
                self.along_box,
                "Which planes are a plane's neighbours, for a model that takes several: those above and below, or the"
                " frames before and after. auto: as the model was trained.",
            ),
            (
                self.overlap_box,
                "How far a tile looks around itself. exact: as if the image were restored in one piece.",
            ),
            (
                self.consistent_box,
                "The new pixels of a pixel have its value as their mean: sums, counts and ratios stay those that were"
                " measured. Noise stays, too.",
            ),
            (
                self.calibration_edit,
                "A file that the command evaluate --calibrate made from pairs of images. With it the trust layer shows"
                " by how much a pixel may be off.",
            ),
            (self.calibration_browse, "Choose the file."),
            (self.device_box, "auto takes a graphics card if there is one. cuda:1 and the like can be written too."),
            (self.engine_box, "The program that computes the network: auto takes the fastest one on this machine."),
        ):
            part.setToolTip(tip)


class Scroll(QScrollArea):
    """As high as its content where there is room; on a small screen the content scrolls."""

    def __init__(self, content: QWidget) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.setWidget(content)
        content.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the content's height: rows open and close."""
        if event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))

    def sizeHint(self) -> QSize:
        """Size of the content."""
        content = self.widget()
        return super().sizeHint() if content is None else content.sizeHint()

    def minimumSizeHint(self) -> QSize:
        """Height of the three questions; all of the width, for nothing scrolls sideways."""
        content = self.widget()
        width = 0 if content is None else content.minimumSizeHint().width()
        return QSize(width + self.verticalScrollBar().sizeHint().width(), _LEAST)


def _rows(*rows: tuple[str, QWidget]) -> QFormLayout:
    layout = QFormLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
    for label, part in rows:
        if label:
            layout.addRow(label, part)
        else:
            layout.addRow(part)
    return layout


def _row(*parts: QWidget) -> QWidget:
    row = QWidget()
    row.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
    line = QHBoxLayout(row)
    line.setContentsMargins(0, 0, 0, 0)
    for part in parts:
        line.addWidget(part, int(not isinstance(part, QPushButton)))
    return row


def _small() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.MinimumExpanding)
    font = label.font()
    font.setPointSizeF(max(font.pointSizeF() - 1, 6))
    label.setFont(font)
    return label


def _combo(*items: Sequence[str] | str) -> QComboBox:
    """A box that does not make the window as wide as its longest line."""
    box = QComboBox()
    box.addItems([str(item) for item in items])
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(16)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box

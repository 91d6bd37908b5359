"""The dock widget's parts: the form, its buttons, the line of plan, the bar, and what it says."""

from __future__ import annotations

from typing import Any

from napari.utils.notifications import notification_manager, show_error
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QGridLayout,
    QLabel,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
)

from swin2sr_ops_napari.controls import Scroll
from swin2sr_ops_napari.docked import Docked
from swin2sr_ops_napari.form import Form
from swin2sr_ops_napari.messages import Message, sentence

__all__ = ["Panel"]

_ORIGINAL, _RESTORED = "Show the original", "Show the restored image"


class Panel(Docked):
    """What is seen of the dock widget; `swin2sr_ops_napari.widget.RestoreWidget` says what the buttons do."""

    def __init__(self, napari_viewer: Any) -> None:
        super().__init__()
        self.form = Form(napari_viewer)
        self._more = ""
        self.preview_button, self.restore_button = QPushButton("Preview"), QPushButton("Restore")
        self.compare_button, self.trust_button = QPushButton(_ORIGINAL), QPushButton("How far can I trust it?")
        self.cancel_button, self.fetch_button = QPushButton("Cancel"), QPushButton("Download the model")
        self.command_button, self.more_button = QPushButton("Copy the command"), QPushButton("More ...")
        self.plan, self.bar, self.status = QLabel(""), QProgressBar(), QLabel("")
        self._arrange()
        self._explain()

    def tell(self, error: BaseException) -> None:
        """Show a sentence in napari's notifications; faults of the program with their traceback."""
        message = sentence(error)
        if message is None:
            self.say(f"A fault of the plugin: {type(error).__name__}. Please report it; napari shows the details.")
            notification_manager.receive_error(type(error), error, error.__traceback__)
            return
        self.say(message)
        show_error(message.line)

    def say(self, message: Message | str, tip: str = "") -> None:
        """Show a line below the buttons; details behind "More ..." and in the tooltip."""
        message = Message(message) if isinstance(message, str) else message
        self._more = message.more
        self.status.setText(message.line)
        self.status.setToolTip(tip)
        self.more_button.setVisible(bool(message.more))

    def name_compare(self, shows_source: bool) -> None:
        """Let the button say what it shows next."""
        self.compare_button.setText(_RESTORED if shows_source else _ORIGINAL)

    def _show_more(self) -> None:
        box = QMessageBox(self)
        box.setWindowTitle("Details")
        box.setText(self._more)
        box.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        box.open()

    def _arrange(self) -> None:
        for label in (self.status, self.plan):
            label.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.PlainText)
        for button in (self.preview_button, self.compare_button):
            button.setCheckable(True)
        self.bar.setTextVisible(True)
        self.bar.setRange(0, 1)
        column = QVBoxLayout(self)
        column.addWidget(Scroll(self.form))
        column.addWidget(self.plan)
        buttons = QGridLayout()
        for i, button in enumerate((self.preview_button, self.restore_button, self.cancel_button)):
            buttons.addWidget(button, 0, i)
        buttons.addWidget(self.compare_button, 1, 0, 1, 2)
        buttons.addWidget(self.more_button, 1, 2)
        buttons.addWidget(self.trust_button, 2, 0, 1, 3)
        column.addLayout(buttons)
        for part in (self.fetch_button, self.bar, self.status, self.command_button):
            column.addWidget(part)
        column.addStretch()
        for part in (self.more_button, self.fetch_button, self.command_button, self.bar):
            part.hide()

    def _explain(self) -> None:
        for part, tip in (
            (self.plan, "What Restore will do: the size, its pieces, the time on this machine, and the space."),
            (self.preview_button, "Restore what is visible, and follow when you move or zoom."),
            (self.restore_button, "Restore the whole layer in the background."),
            (self.cancel_button, "Stop after the current tile. Finished tiles are kept."),
            (self.compare_button, "Look at the original and back. View > Grid mode shows both side by side."),
            (
                self.trust_button,
                "Add a layer that shows, for each pixel, how far the restored image may be off or contradicts the"
                " original. Bright is little trust.",
            ),
            (self.fetch_button, "Download the chosen network once; it is kept on this computer."),
            (self.command_button, "Copy a command for a terminal that runs or resumes the last run on disk."),
            (self.more_button, "The whole message."),
        ):
            part.setToolTip(tip)

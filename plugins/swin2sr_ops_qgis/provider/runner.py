"""Run ``swin2sr-ops restore`` in its own Python, and follow it. Depends neither on QGIS nor on swin2sr_ops.

It works in any Python from 3.7 on, because QGIS brings its own.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
    "Stopped", "command", "environment", "fetch_command", "follow", "is_missing", "labelled", "model_of", "percent",
    "read_settings",
]  # fmt: skip

_OF_QGIS = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA")
_PATIENCE = 10  # seconds for a process to end
_ERROR = "swin2sr-ops: error: "
#: Behind the names of models whose weights are not on this disk.
_MARK = " (to be fetched)"

Event = Any


class Stopped(Exception):
    """The user pressed Cancel."""


def read_settings() -> dict[str, Any]:
    """Read the settings that ``swin2sr-ops hosts install qgis`` wrote: the interpreter, and the names of models.

    Raises
    ------
    RuntimeError
        If they do not exist, or were changed.
    """
    try:
        settings = json.loads(Path(__file__).with_name("settings.json").read_text(encoding="utf-8"))
        return {
            "python": str(settings["python"]),
            "models": [str(name) for name in settings["models"]],
            "files": {str(name): str(path) for name, path in settings.get("files", {}).items()},
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise RuntimeError(
            "This plugin does not know where swin2sr-ops is: run `swin2sr-ops hosts install qgis`."
        ) from exc


def is_missing(settings: dict[str, Any], name: str) -> bool:
    """Return True if the weights of a model must be fetched first."""
    path = settings["files"].get(name)
    return path is not None and not Path(path).is_file()


def labelled(settings: dict[str, Any]) -> list[str]:
    """Return the models' names, those marked whose weights are not on this disk."""
    return [name + _MARK * is_missing(settings, name) for name in settings["models"]]


def model_of(label: str) -> str:
    """Return the name of a model from its label."""
    return label[: -len(_MARK)] if label.endswith(_MARK) else label


def fetch_command(python: str, name: str) -> list[str]:
    """Return the words that fetch a model's weights."""
    return [python, "-P", "-m", "swin2sr_ops", "models", f"--download={name}"]


def command(python: str, src: str, dst: str, options: dict[str, Any]) -> list[str]:
    """Return the words to run; options that are None or empty are omitted."""
    # -P: the working folder of QGIS must not hide our modules.
    words = [python, "-P", "-m", "swin2sr_ops", "restore", "--progress", "json", "--overwrite"]
    for name, value in options.items():
        if value is not None and value != "":
            words.append(f"--{name}={value}")
    return [*words, "--", src, dst]


def environment() -> dict[str, str]:
    """Return the environment without QGIS's own variables: they name its Python and GDAL, and would break another's."""
    return {key: value for key, value in os.environ.items() if key not in _OF_QGIS}


def follow(words: list[str], tell: Callable[[Event], None], cancelled: Callable[[], bool]) -> None:
    """Run ``words`` to the end.

    Parameters
    ----------
    words : list of str
        From `command`.
    tell : callable
        Receives the events, and other lines as ``{"kind": "note", "text": line}``.
    cancelled : callable
        Called ten times a second.

    Raises
    ------
    Stopped
        If ``cancelled`` returned True and the process was ended; finished tiles are kept.
    RuntimeError
        If the process failed; with its message.
    """
    process = _start(words)
    lines: queue.Queue[str] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    last = ""
    try:
        while reader.is_alive() or not lines.empty():
            if cancelled():
                raise Stopped
            try:
                line = lines.get(timeout=0.1).strip()
            except queue.Empty:
                continue
            last = line or last
            if line and not line.startswith(_ERROR):
                tell(_event(line))
    finally:
        _end(process, reader)
    if process.wait() != 0:
        raise RuntimeError(last[len(_ERROR) :] if last.startswith(_ERROR) else f"swin2sr-ops ended early: {last}")


def percent(event: Event) -> float | None:
    """Return the percentage after ``event``; None if the event has none."""
    if event["kind"] in ("start", "tile") and event.get("total"):
        return float(100.0 * event["done"] / event["total"])
    return None


def _start(words: list[str]) -> subprocess.Popen[str]:
    try:
        return subprocess.Popen(  # noqa: S603  # the words come from `command`
            words, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", errors="replace", creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )  # fmt: skip
    except OSError as exc:
        raise RuntimeError(
            f"{words[0]!r} cannot be started ({exc}): run `swin2sr-ops hosts install qgis` again."
        ) from exc


def _read(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)


def _event(line: str) -> Event:
    try:
        event = json.loads(line) if line.startswith("{") else None
    except ValueError:
        event = None
    return event if isinstance(event, dict) and "kind" in event else {"kind": "note", "text": line}


def _end(process: subprocess.Popen[str], reader: threading.Thread) -> None:
    """End the process: first by a signal that it can handle, then by force."""
    if reader.is_alive():  # otherwise its output has ended, and the process ends too
        process.terminate()
    try:
        process.wait(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    reader.join()
    if process.stdout is not None:
        process.stdout.close()

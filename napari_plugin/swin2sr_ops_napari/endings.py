"""Say in the window how a run ended. No Qt here."""

from __future__ import annotations

from typing import Any

from swin2sr_ops_napari.background import Outcome
from swin2sr_ops_napari.disk_trust import DiskWithTrust
from swin2sr_ops_napari.outputs import Disk, Lazy, Output
from swin2sr_ops_napari.trusted import Trusted

__all__ = ["ending"]


def ending(output: Output, outcome: Outcome, known: bool) -> str:
    """Return the sentence for a run that finished or was cancelled.

    Parameters
    ----------
    output : Output
    outcome : Outcome
        Without an error, or stopped.
    known : bool
        True if the result's layer was in the viewer before.
    """
    if isinstance(output, Trusted):
        return "Cancelled. No trust layer was made." if outcome.stopped else output.summary
    if outcome.stopped:
        return _cancelled(output)
    if isinstance(output, Lazy):
        return "The lazy layer is ready: the part that you look at is restored, from the centre outwards."
    return _finished(output, outcome.result, known)


def _finished(output: Output, report: Any, known: bool) -> str:
    where = f" in {output.path}" if isinstance(output, Disk) else ""
    if report.state == "already":
        return f"This was finished before{where}, with the same choices." + (" Its layer is here." if known else "")
    resumed = f" {report.resumed} were done by an earlier run." if report.resumed else ""
    tiles = f"{report.tiles} tile{'' if report.tiles == 1 else 's'}"
    about = f" {output.about}" if isinstance(output, DiskWithTrust) else ""
    return f"Finished{where}: {tiles} in {report.seconds:.0f} s.{resumed}{about}"


def _cancelled(output: Output) -> str:
    if isinstance(output, Lazy):
        return "Cancelled. No layer was made."
    if not isinstance(output, Disk):
        if output.growing is None or not output.growing.painted:
            return "Cancelled. No tile was finished, so no layer was made."
        return "Cancelled. The finished tiles are in the layer that ends in (part); the rest of it is black."
    if output.growing is None or not output.growing.painted:
        return "Cancelled before a tile was finished: nothing new was written."
    if output.file is None and not output.resumable:
        return "Cancelled. Finished tiles are kept, but this layer has no file: the next run begins again."
    command = ", and so does the copied command." if output.command else "."
    return f"Cancelled. Finished tiles are kept: Restore resumes the run{command}"

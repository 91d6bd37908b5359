"""Watch that an output is made of one input, however often its files are replaced while it grows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.base import json_ready
from swin2sr_ops.io.output.claim import STAMP
from swin2sr_ops.io.output.staging import Staging
from swin2sr_ops.run.fingerprint import identity, input_stamp
from swin2sr_ops.run.job import Job
from swin2sr_ops.run.origin import InputPixels, Origin

__all__ = ["InputWatch"]

_T = TypeVar("_T")
#: How often an input that is touched again and again is looked at before the run gives up.
_LOOKS = 3


@dataclass(frozen=True)
class InputWatch:
    """The input of a run, as it was when the run began.

    Attributes
    ----------
    job : Job
    staging : Staging or None
        Where the output grows, if it can be resumed; spoilt where the input changed.
    each : callable
        Call a function for each item, on the run's executor.
    identity, stamp
        `swin2sr_ops.run.fingerprint.identity` and ``input_stamp`` when the run began.
    """

    job: Job
    staging: Staging | None
    each: Callable[[Callable[[Any], Any], Iterable[Any], Callable[[Any, Any], None]], None]
    identity: object
    stamp: str

    def check_resumed(self) -> None:
        """Refuse to resume a run some of whose tiles were made of another input than the one that is there now.

        Raises
        ------
        OutputError
            The input was replaced while an earlier run was at work, and put back before this one.
        """
        staging = self.staging
        if staging is None or not staging.resumed or staging.claim.notes.get(STAMP) == self.stamp:
            return
        if self._other():
            raise self._of_two_images()
        staging.claim.note(**{STAMP: self.stamp})

    def check(self) -> None:
        """Refuse to finish an output if the input is another one now, or was for a while.

        Raises
        ------
        OutputError
            The output would be made of two images.
        """
        if self.changed() or (input_stamp(self.job) != self.stamp and self._other()):
            raise self._of_two_images()

    def changed(self) -> bool:
        """Tell whether the input is another one than at the start, and spoil the run if so."""
        if json_ready(identity(self.job)) == self.identity:
            return False
        self._spoil()
        return True

    def steady(self, look: Callable[[], _T]) -> _T:
        """Return what ``look`` finds in the input, once more where the input was touched meanwhile."""
        for _ in range(_LOOKS):
            before = input_stamp(self.job)
            found = look()
            if input_stamp(self.job) != before:
                continue
            if before != self.stamp and self.changed():
                break
            return found
        raise self._of_two_images()

    def _other(self) -> bool:
        """Compare the input's pixels with those that finished tiles were made of; spoil the run if some differ."""
        if self.staging is None:
            return False
        origins = [Origin.from_json(found) for found in self.staging.journal.origins()]
        other = []

        def compared(origin: Origin, still: bool) -> None:
            if not still:
                other.append(origin)

        self.each(InputPixels(self.job.source, self.job.mask, self.job.order).still, origins, compared)
        if other:
            self._spoil()
        return bool(other)

    def _spoil(self) -> None:
        if self.staging is not None:
            self.staging.claim.spoil()

    def _of_two_images(self) -> OutputError:
        return OutputError(
            f"The input {self.job.source.uri!r} changed while it was restored: the output would be of two images."
            " Start anew with restart (--restart)."
        )

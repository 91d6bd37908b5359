"""Check that an output is made of one input, even if its files are replaced during the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.output.claim import STAMP, RunKey
from swin2sr_ops.io.output.staging import Staging
from swin2sr_ops.run.fingerprint import identity, input_stamp
from swin2sr_ops.run.job import Job
from swin2sr_ops.run.origin import InputPixels, Origin

__all__ = ["InputWatch"]

_T = TypeVar("_T")
#: Number of attempts to read an input that is touched again and again, before the run fails.
_LOOKS = 3


@dataclass(frozen=True)
class InputWatch:
    """The input of a run, in its state at the run's start.

    Attributes
    ----------
    job : Job
    staging : Staging or None
        The unfinished output, if it can be resumed; it is marked as spoilt if the input changed.
    each : callable
        Calls a function for each item, on the run's executor.
    key : RunKey
        Its settings hold the identity of the input, and it has the input's stamp, both of the run's start.
    """

    job: Job
    staging: Staging | None
    each: Callable[[Callable[[Any], Any], Iterable[Any], Callable[[Any, Any], None]], None]
    key: RunKey

    def check_resumed(self) -> None:
        """Raise an error if some tiles of the resumed run were made of another input than the present one.

        Raises
        ------
        OutputError
            If the input was replaced during an earlier run, and put back before this one.
        """
        staging = self.staging
        if staging is None or not staging.resumed or staging.claim.notes.get(STAMP) == self.key.stamp:
            return
        if self._other():
            raise self._of_two_images()
        staging.claim.note(**{STAMP: self.key.stamp})

    def check(self) -> None:
        """Raise an error if the input has changed, or was replaced for a while, so the output must not be finished.

        Raises
        ------
        OutputError
            If the output would be made of two images.
        """
        if self.changed() or (input_stamp(self.job) != self.key.stamp and self._other()):
            raise self._of_two_images()

    def changed(self) -> bool:
        """Return True if the input differs from the one at the start; then mark the run as spoilt."""
        if identity(self.job) == self.key.settings["source"]:
            return False
        self._spoil()
        return True

    def steady(self, look: Callable[[], _T]) -> _T:
        """Return the result of ``look`` at the input; look again if the input was touched meanwhile."""
        for _ in range(_LOOKS):
            before = input_stamp(self.job)
            found = look()
            if input_stamp(self.job) != before:
                continue
            if before != self.key.stamp and self.changed():
                break
            return found
        raise self._of_two_images()

    def _other(self) -> bool:
        """Return True if the input's pixels differ from those of finished tiles; then mark the run as spoilt."""
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
            f"The input {self.job.source.uri!r} changed during the run: the output would be made of two images."
            " Start anew with restart (--restart)."
        )

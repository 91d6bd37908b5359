"""Notice a source that changes while it is served: nothing is restored of two images."""

from __future__ import annotations

import time
from collections.abc import Callable

from swin2sr_ops.errors import OutputError
from swin2sr_ops.io.output.claim import RunKey
from swin2sr_ops.io.output.staging import Staging
from swin2sr_ops.run.input_watch import InputWatch
from swin2sr_ops.run.job import Job
from swin2sr_ops.run.pipeline import Here

__all__ = ["SourceGuard"]

#: Seconds between two looks whether the source is still the same.
_STILL = 5.0


class SourceGuard:
    """Compare a source with its state at the start, now and then.

    Parameters
    ----------
    job : Job
    key : RunKey
        With the identity and the stamp of the input at the start.
    staging : callable
        Returns the unfinished output that a changed source spoils, or None.

    Attributes
    ----------
    changed : str
        A sentence once the source has changed, else empty.
    """

    def __init__(self, job: Job, key: RunKey, staging: Callable[[], Staging | None]) -> None:
        self.changed = ""
        self._job, self._key, self._staging = job, key, staging
        self._looked = time.monotonic()

    @property
    def watch(self) -> InputWatch:
        """Return the watch that compares the input with its state at the start."""
        return InputWatch(self._job, self._staging(), Here().each, self._key)

    def check_known(self) -> None:
        """Refuse if the source is known to have changed; this looks at no file."""
        if self.changed:
            raise OutputError(self.changed)

    def check(self) -> None:
        """Refuse to restore pixels of another image than at the start; looks at the files now and then."""
        self.check_known()
        if time.monotonic() - self._looked < _STILL:
            return
        if self.watch.changed():
            self.changed = (
                f"The input {self._job.source.uri!r} changed while it was served: open it again, and remove the cache"
                " or give another one."
            )
        self._looked = time.monotonic()
        self.check_known()

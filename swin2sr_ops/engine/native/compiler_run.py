"""Run a compiler, and end it with all its children where it hangs."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

__all__ = ["NOT_RUN", "TIMED_OUT", "run_compiler"]

#: What a shell answers for a program that ran too long, and for one that cannot be run.
TIMED_OUT, NOT_RUN = 124, 126
#: Seconds that a killed compiler has to let go of its output.
_GRACE = 5.0


def run_compiler(words: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run ``words``; a program that takes longer than ``seconds``, or cannot be run, has failed.

    It runs in a process group of its own: a compiler is often a script that starts the real one, and a child that is
    left would also keep the output open, for which its reader waits.
    """
    try:
        process = subprocess.Popen(  # noqa: S603  (CC is the user's)
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
    except (OSError, ValueError) as exc:  # no program, or no right to run it; a NUL in its name
        return subprocess.CompletedProcess(words, NOT_RUN, "", str(exc))
    try:
        out, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, TIMED_OUT, "", f"it did not end within {seconds:.0f} seconds")
    finally:
        if process.returncode is None:  # also on Ctrl-C, which does not reach another group
            _end(process)
    return subprocess.CompletedProcess(words, process.returncode, out, said)


def _end(process: subprocess.Popen[str]) -> None:
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        _kill_tree(process.pid)
    with suppress(subprocess.TimeoutExpired):
        process.communicate(timeout=_GRACE)


def _kill_tree(pid: int) -> None:
    """Kill a process and its children, where there are no process groups."""
    import psutil

    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (*top.children(recursive=True), top):
            with suppress(psutil.Error):
                process.kill()

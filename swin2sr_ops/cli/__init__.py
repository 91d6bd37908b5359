"""Run the command line: ``swin2sr-ops restore``, ``info``, ``plan``, ``models``, ``evaluate``, ``train``, ...

Only argparse is loaded before a command runs, so that ``--help`` is fast.
"""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType

from swin2sr_ops.cli.parsers import build_parser
from swin2sr_ops.cli.streams import lasting_streams
from swin2sr_ops.errors import OutputError, Swin2SROpsError

__all__ = ["main", "script"]

#: New objects until Python looks for garbage. What is imported stays: looking at every 700 takes a tenth of the start.
_GARBAGE = 10_000
#: Commands whose result is a file or a server: they succeed where their text cannot be printed.
_WRITING = ("restore", "train", "export", "serve")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit status: 0, 1 if images of a batch failed, 2 after an error message on stderr."""
    with lasting_streams():
        try:
            return _main(argv)
        except KeyboardInterrupt:  # another one, while the first was reported
            return 130


def script() -> int:
    """Run `main` as a program: a signal that comes while Python ends finds the exit status decided."""
    gc.set_threshold(_GARBAGE)
    status = main()

    def end(_number: int, _frame: FrameType | None) -> None:
        os._exit(status)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    return status


def _main(argv: Sequence[str] | None) -> int:
    args = argparse.Namespace(command="")
    try:
        parser = build_parser()
        if not (sys.argv[1:] if argv is None else argv):
            parser.print_help()
            return 2
        args = parser.parse_args(argv)
        status: int = import_module(f"swin2sr_ops.cli.{args.command}").main(args)
        sys.stdout.flush()  # detect here, before the interpreter ends, that the reader has closed the pipe
        lost = getattr(sys.stdout, "lost", "")
        if lost and args.command not in _WRITING:
            raise OutputError(f"Standard output cannot be written: {lost}. The answer is not complete there.")
    except Swin2SROpsError as exc:
        print(f"swin2sr-ops: error: {' '.join(str(exc).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "; the same command resumes the run" if args.command in ("restore", "train") else ""
        print(f"swin2sr-ops: stopped{kept}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
        return 141
    except (OSError, ModuleNotFoundError) as exc:
        sentence = _unusable(exc) if isinstance(exc, OSError) else _absent(exc)
        if not sentence:
            raise  # a bug of this package
        print(f"swin2sr-ops: error: {sentence}", file=sys.stderr)
        return 2
    return status


def _unusable(error: OSError) -> str:
    """Name a file or folder that no module could name better, and what the system says; empty if there is none."""
    if not isinstance(error.filename, str | bytes):
        return ""
    reason = error.strerror or error
    return f"{os.fsdecode(error.filename)!r} cannot be used: {reason}. Check its rights and its disk, then try again."


def _absent(error: ModuleNotFoundError) -> str:
    """Name a library of others that is missing."""
    name = error.name or ""
    return missing(name) if name and name.split(".")[0] != "swin2sr_ops" else ""


def missing(module: str) -> str:
    """Name a library that is not installed, and how to install it."""
    name = module.split(".", maxsplit=1)[0]
    return f"The library {name} is not installed in {sys.prefix} but needed here: `python -m pip install {name}`."

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
from swin2sr_ops.errors import Swin2SROpsError

__all__ = ["main", "script"]

#: New objects until Python looks for garbage. What is imported stays: looking at every 700 takes a tenth of the start.
_GARBAGE = 10_000


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
    except Swin2SROpsError as exc:
        print(f"swin2sr-ops: error: {' '.join(str(exc).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "; the same command resumes the run" if args.command in ("restore", "train") else ""
        print(f"swin2sr-ops: stopped{kept}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader has closed the pipe, as `| head` does
        return 141
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] == "swin2sr_ops":
            raise  # a bug of this package
        print(f"swin2sr-ops: error: {missing(exc.name)}", file=sys.stderr)
        return 2
    return status


def missing(module: str) -> str:
    """Name a library that is not installed, and how to install it."""
    name = module.split(".", maxsplit=1)[0]
    return f"The library {name} is not installed in {sys.prefix} but needed here: `python -m pip install {name}`."

"""The command line: ``swin2sr-ops restore``, ``info``, ``plan``, ``models``, ``evaluate``, ``train``, ...

Only argparse is loaded until a command runs: ``--help`` costs nothing.
"""

from __future__ import annotations

import argparse
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 where images of a batch failed, or 2 after a sentence on stderr."""
    with lasting_streams():
        try:
            return _main(argv)
        except KeyboardInterrupt:  # another one, while the first was reported
            return 130


def script() -> int:
    """Run `main` as a program: a signal that comes while Python ends finds the exit status decided."""
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
        sys.stdout.flush()  # here, so that a reader who went away is noticed before the interpreter ends
    except Swin2SROpsError as exc:
        print(f"swin2sr-ops: error: {' '.join(str(exc).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "; the same command resumes the run" if args.command in ("restore", "train") else ""
        print(f"swin2sr-ops: stopped{kept}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        return 141
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.split(".")[0] == "swin2sr_ops":
            raise  # a fault of ours
        print(f"swin2sr-ops: error: {missing(exc.name)}", file=sys.stderr)
        return 2
    return status


def missing(module: str) -> str:
    """Say in a sentence that a library is not installed."""
    name = module.split(".", maxsplit=1)[0]
    return f"The library {name} is not installed in {sys.prefix}, and this needs it: `python -m pip install {name}`."

"""How arguments are read: the parser's class, and the types of options. Only argparse is loaded."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from swin2sr_ops.errors import RequestError

__all__ = ["Parser", "halo", "number", "tile", "whole", "workers"]


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option as every other error is said: in one sentence, without the usage.

    Options may stand between sources and output, which argparse alone does not allow.
    """

    _mixing = False

    def error(self, message: str) -> NoReturn:
        # argparse does not count SRC, in whose place --list may stand.
        message = message.replace("are required: DST", "are required: SRC, DST")
        raise RequestError(f"{message}. `{self.prog} --help` says more.")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        if self._subparsers is not None or self._mixing:
            return super().parse_known_args(args, namespace)
        self._mixing = True  # argparse's method for it calls this one, twice
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._mixing = False


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None


def workers(text: str) -> int | str:
    try:
        return text if text == "gpus" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither gpus nor a number of processes such as 4") from None


def halo(text: str) -> int | str:
    try:
        return text if text == "exact" else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither exact nor a number of pixels such as 16") from None


def tile(text: str) -> int | tuple[int, int]:
    try:
        sides = [int(part) for part in text.split(",")]
    except ValueError:
        sides = []
    if len(sides) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is neither N nor ROWS,COLUMNS, such as 512 or 256,1024")
    return sides[0] if len(sides) == 1 else (sides[0], sides[1])

"""``swin2sr-ops completion``: a script with which a shell completes commands, options, models and files."""

from __future__ import annotations

import argparse
from typing import Any

from swin2sr_ops.hooks.models import list_models
from swin2sr_ops.weights.qualities import QUALITIES

__all__ = ["main"]

#: Words of the help texts that stand for files and folders.
_FILES = {"SRC", "DST", "FILE", "OUTPUT", "SOURCE", "RECIPE"}
_FOLDERS = {"FOLDER", "RUN"}


def main(args: argparse.Namespace) -> int:
    """Print the script."""
    import shtab

    from swin2sr_ops.cli.parsers import build_parser

    parser = build_parser()
    models = [spec.name for spec in list_models()]
    for command in _commands(parser):
        for action in command._actions:
            _complete(action, models, shtab)
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [
        command
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for command in action.choices.values()
    ]


def _complete(action: Any, models: list[str], shtab: Any) -> None:
    """Say what may stand in the place of ``action``; the parser is used for nothing else."""
    if "--model" in action.option_strings:
        action.choices = ["auto", *QUALITIES, *models]
    elif "--download" in action.option_strings or "--init" in action.option_strings:
        action.choices = models
    elif action.metavar in _FILES:
        action.complete = shtab.FILE
    elif action.metavar in _FOLDERS:
        action.complete = shtab.DIRECTORY

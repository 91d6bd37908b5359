"""Run the README's examples and commands unchanged."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from swin2sr_ops.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})


COMMANDS = [line for block in blocks("bash") for part in block.splitlines() for line in part.split(" && ")]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.startswith("swin2sr-ops")])
def test_commands_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == 0
    if " restore " in command:
        words = shlex.split(command)
        positional = words[: next((i for i, word in enumerate(words) if word.startswith("--")), len(words))]
        assert (tmp_path / positional[-1]).exists()


def test_the_first_command_is_the_main_job() -> None:
    assert COMMANDS[:2] == ["python -m pip install .", "swin2sr-ops restore sample:cells cells_x2.ome.zarr"]


def test_ci_runs_the_readmes_test_command() -> None:
    command = next(line for block in blocks("bash") for line in block.splitlines() if "pytest" in line)
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    install, test = command.split(" && ")
    assert f"\n  {install}\n" in script
    assert f"step_tests() {{ {test}; }}" in script


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "DESIGN.md", "CONTRIBUTING.md", "docs/exactness.md"):
        text = (ROOT / name).read_text()
        for target in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert ((ROOT / name).parent / target).exists(), f"{name} links to {target}"

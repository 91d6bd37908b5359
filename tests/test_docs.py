"""Run every command and every Python block of the pages in ``docs/``, in order and unchanged."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from swin2sr_ops.cli import main
from swin2sr_ops.run.pipeline import Here
from tests.docs_files import batch, clusters, evaluate, evidence, microscopy, nothing, remote_sensing, training

DOCS = Path(__file__).parents[1] / "docs"
MAKERS = {
    "microscopy": microscopy, "remote-sensing": remote_sensing, "clusters": clusters, "batch": batch,
    "hosts": remote_sensing, "evaluate": evaluate, "training": training, "models": nothing, "evidence": evidence,
    **dict.fromkeys(("index", "install", "faq", "environment", "logging", "scripts", "how-exact", "export"), nothing),
    "serve": nothing,
}  # fmt: skip
NEEDS = {
    "microscopy": ("yaozarrs",), "remote-sensing": ("rasterio", "rio_cogeo"), "clusters": ("distributed",),
    "hosts": ("rasterio", "rioxarray"), "export": ("onnx", "onnxscript", "onnxruntime"),
}  # fmt: skip
_LANGUAGES = {"bash", "python", "python not-run", "sh not-run", "text"}


#: Pages that the site makes from the code and from files beside the folder.
MADE = set(re.findall(r"[\w-]+\.md", (DOCS.parent / "mkdocs.yml").read_text())) - {p.name for p in DOCS.glob("*.md")}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    text = (DOCS / f"{page}.md").read_text()
    found = re.finditer(r"^```([^\n]+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [Block(m[1], m[2], text.count("\n", 0, m.start()) + 1) for m in found]


def commands(block: Block) -> Iterator[tuple[str, int]]:
    """The commands of a block, and the exit status that a comment says, or 0."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.strip():
            told = re.search(r"# exit status (\d+)", line)
            yield line.partition("  #")[0].strip(), int(told[1]) if told else 0


def run_command(command: str, status: int, capfd: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(command)
    if words[0] != "swin2sr-ops":
        assert words[0] == "rio", f"{command!r}: the pages' commands are swin2sr-ops and rio"
        from rasterio.rio.main import main_group

        main_group.main(words[1:], standalone_mode=False)
        return
    capfd.readouterr()
    assert main(words[1:]) == status, capfd.readouterr().err
    if status == 0:  # neither errors nor warnings of other libraries
        lines = [line for line in capfd.readouterr().err.splitlines() if "Beside the image lie labels" not in line]
        assert not re.search(r"warn|Traceback|Error", "\n".join(lines)), command


def run_python(block: Block, page: str, names: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """Run a block, and compare its output with the comments behind ``print(...)``."""
    capfd.readouterr()
    code = "\n" * block.line + block.text  # so that a traceback names the page's line
    exec(compile(code, f"{page}.md", "exec"), names)
    printed = iter(capfd.readouterr().out.splitlines())
    for promised in re.findall(r"^\s*print\(.*\)  # (.*)$", block.text, re.MULTILINE):
        assert any(line == promised for line in printed), f"{page}.md: {promised!r} is not printed"


@pytest.mark.parametrize("page", sorted(MAKERS))
def test_page(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for module in NEEDS.get(page, ()):
        pytest.importorskip(module, reason=f"{page}.md uses it")
    MAKERS[page](tmp_path)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if block.language == "python":
            with monkeypatch.context() as patch:
                if page == "clusters":  # processes are started once, by the command
                    patch.setattr("swin2sr_ops.cluster.executor.open_cluster", lambda workers: Here())
                run_python(block, page, names, capfd)
        elif block.language == "bash":
            for command, status in commands(block):
                if "s3://" not in command:
                    run_command(command, status, capfd)


def test_commands_with_an_object_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server = pytest.importorskip("tests.s3_server")
    found = [c for page in MAKERS for b in blocks(page) if b.language == "bash" for c in commands(b) if "s3://" in c[0]]
    assert found
    microscopy(tmp_path)
    monkeypatch.chdir(tmp_path)
    with server.moto() as url:
        for name, value in {**server.CREDENTIALS, "AWS_ENDPOINT_URL": url}.items():
            monkeypatch.setenv(name, value)
        server.forget_connections()
        server.client(url).create_bucket(Bucket=server.BUCKET)
        for command, status in found:
            run_command(command, status, capfd)
    server.forget_connections()


@pytest.mark.parametrize("page", sorted(MAKERS))
def test_blocks_say_whether_they_run(page: str) -> None:
    for block in blocks(page):
        assert block.language in _LANGUAGES, f"{page}.md, line {block.line}: {block.language}"
        if block.language == "text":
            assert block.text.startswith("not run: "), f"{page}.md, line {block.line}"


@pytest.mark.parametrize("page", sorted(p.stem for p in DOCS.glob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", (DOCS / f"{page}.md").read_text()):
        if target in MADE:
            continue  # building the site checks these
        other = DOCS / target if target else DOCS / f"{page}.md"
        assert other.exists(), f"{page}.md links to {target}"
        headings = re.findall(r"^#+ (.*)$", other.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}

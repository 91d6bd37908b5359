"""Pages of the documentation site that are made from the code and from files beside it, and ``llms.txt``.

MkDocs calls the functions whose names begin with ``on_`` (``hooks`` in ``mkdocs.yml``).
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the checkout that is documented, whatever is installed

#: Files outside of ``docs`` that become pages.
BESIDE = {
    "design.md": "DESIGN.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md", "conduct.md": "CODE_OF_CONDUCT.md", "licences.md": "swin2sr_ops/data/LICENSES.md",
}  # fmt: skip

#: The public names, in the order in which people need them.
API = {
    "Restore": ("restore", "restore_image", "restore_batch", "restored_store", "Restorer"),
    "Models": ("list_models", "load_model", "ModelSpec"),
    "Plans and reports": ("TilePlan", "RunReport", "BatchReport"),
    "Formats and plugins": ("open_source", "create_sink", "hookimpl"),
    "Errors": (
        "Swin2SROpsError", "RequestError", "ModelError", "CheckpointError", "DownloadError", "FormatError",
        "OutputError", "PlanError", "TileError", "ClusterError",
    ),
}  # fmt: skip

#: Examples: Python files in cells, whose cells of text are Markdown.
GALLERY = ROOT / "docs" / "gallery"

_descriptions: dict[str, tuple[str, str]] = {}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List pages that ``mkdocs.yml`` does not place yet, so that none is lost."""
    listed = set(re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    further = sorted(p.name for p in (ROOT / "docs").glob("*.md") if p.name not in listed)
    if further:
        config.nav = [*(config.nav or []), {"Further": further}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {name: _linked((ROOT / path).read_text(encoding="utf-8"), config) for name, path in BESIDE.items()}
    made |= {"command-line.md": command_line(), "api.md": api(), "hosting.md": hosting()}
    made["released-models.md"] = released_models()
    examples = {f"gallery/{p.stem}.md": example(p) for p in sorted(GALLERY.glob("*.py"))}
    made |= examples | {"gallery/index.md": gallery(examples)}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make a page of this repository one of the site, and keep what it is about for ``llms.txt``."""
    text = re.sub(r"^```(\w+) not-run$", r"```\1", markdown, flags=re.MULTILINE)
    for name, path in BESIDE.items():
        text = text.replace(f"](../{path}", f"]({name}")
    text = text.replace("](../README.md#models)", "](models.md)")
    title = re.search(r"^# (.+)$", text, re.MULTILINE)
    rest = text[title.end() :] if title else text
    about = next((p for p in rest.split("\n\n") if re.match(r"\s*[A-Z\[`*]", p)), "")
    _descriptions[page.file.src_uri] = (title[1] if title else page.file.name, " ".join(about.split()))
    return text


def on_post_build(config: MkDocsConfig) -> None:
    """Write ``llms.txt``: what there is to read, a line each."""
    base = str(config.site_url)
    lines = [f"# {config.site_name}", "", f"> {config.site_description}", ""]
    for section in config.nav or []:
        for name, pages in section.items():
            lines += [f"## {name}", ""]
            for entry in pages:
                src = next(iter(entry.values())) if isinstance(entry, dict) else entry
                title, about = _descriptions[src]
                address = base + ("" if src == "index.md" else src.removesuffix(".md").removesuffix("/index") + "/")
                about = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", about)
                lines.append(f"- [{title}]({address}): {about[:240]}")
            lines.append("")
    (Path(config.site_dir) / "llms.txt").write_text("\n".join(lines), encoding="utf-8")


def _linked(text: str, config: MkDocsConfig) -> str:
    """Turn links of a file at the repository's root into links of the site."""
    text = re.sub(r"\]\(docs/", "](", text)
    text = re.sub(r"\]\((README)\.md[^)]*\)", "](index.md)", text)
    for name, path in BESIDE.items():
        text = text.replace(f"]({path}", f"]({name}")
    ours = "|".join(re.escape(str(address).rstrip("/")) for address in (config.site_url, config.repo_url))
    return re.sub(rf"(?<![(<])\b((?:{ours})(?:[\w/.-]*\w)?)", r"<\1>", text)


# --- the gallery ----------------------------------------------------------------------------------


def example(path: Path) -> str:
    """Return a page of a Python file in cells (``# %%``)."""
    page = []
    for cell in re.split(r"^# %%", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        kind, _, text = cell.partition("\n")
        if "[markdown]" in kind:
            page.append(re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip())
        else:
            page.append(f"```python\n{text.strip()}\n```")
    source = f"The page is a script in cells: `docs/gallery/{path.name}`. The tests run it."
    return "\n\n".join([*page, source]) + "\n"


def gallery(examples: dict[str, str]) -> str:
    """Return the page that lists the examples."""
    lines = ["# Gallery", "", "Ten scripts that make their own small images and run as they stand.", ""]
    for name, text in examples.items():
        title, about = text.split("\n\n")[:2]
        lines.append(f"- [{title.removeprefix('# ')}]({name.removeprefix('gallery/')}): {' '.join(about.split())}")
    return "\n".join([*lines, ""])


# --- the command line -----------------------------------------------------------------------------


def command_line() -> str:
    """All commands and options, from the parsers themselves."""
    from swin2sr_ops.cli.parsers import build_parser

    parser = build_parser()
    lines = ["# Command line", "", "Made from the parsers: it is what `--help` says.", ""]
    lines += [_prose(parser.description), "", *_examples(parser)]
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    for name, command in commands.choices.items():
        lines += [f"## {name}", "", _prose(command.description), "", *_examples(command)]
        for group in command._action_groups:
            options = [a for a in group._group_actions if a.help != argparse.SUPPRESS and a.dest != "help"]
            if options:
                title = {"positional arguments": "arguments"}.get(str(group.title), str(group.title))
                lines += [
                    f"### {title.capitalize()} {{: #{name}-{title.replace(' ', '-')} }}",
                    "",
                    "| | what it does |",
                    "|---|---|",
                ]
                lines += [f"| {_name(action)} | {_cell(_help(action))} |" for action in options]
                lines.append("")
    return "\n".join(lines)


def _prose(text: str | None) -> str:
    return " ".join((text or "").split())


def _examples(parser: argparse.ArgumentParser) -> list[str]:
    """The epilog, as it is printed."""
    return ["```text", (parser.epilog or "").strip(), "```", ""] if parser.epilog else []


def _name(action: argparse.Action) -> str:
    words = action.option_strings or [action.metavar or action.dest]
    value = ""
    if action.option_strings and action.nargs != 0:
        value = " " + str(action.metavar or ("{" + ",".join(map(str, action.choices)) + "}" if action.choices else ""))
        value = value if value.strip() else f" {action.dest.upper()}"
    return "`" + ", ".join(map(str, words)).replace("|", "\\|") + value.replace("|", "\\|") + "`"


def _help(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")


def _cell(text: str) -> str:
    return re.sub(r"(?<![`\w])(--[a-z][\w-]*)", r"`\1`", text).replace("|", "\\|")


# --- Python ---------------------------------------------------------------------------------------


def api() -> str:
    """The public names."""
    lines = [
        "# Python", "",
        "Everything that `import swin2sr_ops` promises; the rest may change. Names load on first use.",
        "",
    ]  # fmt: skip
    for title, names in API.items():
        lines += [f"## {title}", ""]
        for name in names:
            lines += [f"::: swin2sr_ops.{name}", ""]
            if title == "Errors":
                lines[-1:] = ["    options:", "      members: false", ""]
    lines += ["## Events", "", "::: swin2sr_ops.events", "    options:", "      show_root_heading: false", ""]
    lines += ["## Contracts for plugins", "", "::: swin2sr_ops.testing", "    options:"]
    lines += ["      show_root_heading: false", "      members: [SourceContract, SinkContract]", ""]
    lines += ["## Hooks", "", "::: swin2sr_ops.hookspecs", "    options:", "      show_root_heading: false", ""]
    return "\n".join(lines)


def hosting() -> str:
    """The seam for host adapters."""
    about = "What an adapter to an application may use of the package."
    options = ["    options:", "      show_root_heading: false", "      members: false", ""]
    return "\n".join(["# For host adapters", "", about, "", "::: swin2sr_ops.hosting", *options])


def released_models() -> str:
    """A table of all models that are known by name."""
    import swin2sr_ops

    lines = [
        "# All models by name", "",
        "The models of the package, and all released Swin2SR and SwinIR checkpoints."
        " `swin2sr-ops models --download NAME` fetches one: resumable, verified, into the cache.",
        "",
        "| name | does | scale | channels | licence | weights |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for spec in swin2sr_ops.list_models():
        shipped = spec.weights.startswith("package:")
        where = "with the package" if shipped else f"{spec.size_bytes / 1e6:.0f} MB" if spec.size_bytes else "download"
        lines.append(
            f"| `{spec.name}` | {spec.task} | x{spec.scale} | {spec.channels} | {spec.licence} | {where} |"
        )  # fmt: skip
    return "\n".join([*lines, ""])

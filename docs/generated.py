"""Pages of the site that are written from the code when it is built, so that they cannot be out of date: a hook of MkDocs."""

from __future__ import annotations

import ast
import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

import seqsetvae
from seqsetvae import config
from seqsetvae.app.help_text import first_line
from seqsetvae.app.verbs import VERBS
from seqsetvae.certify.table import Table
from seqsetvae.data.sources import SOURCES

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

BENCHMARKS = Path(__file__).parent / "benchmarks"
MEASURING = Path(__file__).parents[1] / "benchmarks"
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages to those of the folder."""
    from mkdocs.structure.files import File

    for name, lines in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content="\n".join(lines())))
    for path in NOTEBOOKS:
        files.append(File.generated(config, f"tutorials/{path.stem}.md", content="\n".join(tutorial(path))))
    return files


def tutorial(path: Path) -> Iterator[str]:
    """A notebook as a page; notebooks are kept without outputs."""
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        text = "".join(cell["source"])
        yield f"```python\n{text}\n```\n" if cell["cell_type"] == "code" else f"{text}\n"
        if number == 0:
            yield f"The notebook is `notebooks/{path.name}`.\n"


def command_line() -> Iterator[str]:
    """Every verb with all of its settings, as `--help all` prints them."""
    yield "# The command line\n"
    yield "`seqsetvae VERB --help` shows the settings that matter most, `seqsetvae VERB --help all` what stands here.\n"
    for verb, function in VERBS.items():
        words = (
            [[verb, source, "--help", "all"] for source in SOURCES] if verb == "prepare" else [[verb, "--help", "all"]]
        )
        yield f"## {verb}\n\n{first_line(function)}\n"
        for command in words:
            yield f"```text\n{printed_by(command)}```\n"


def printed_by(command: list[str]) -> str:
    """What a verb prints before it ends."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
        VERBS[command[0]](command[1:])
    return printed.getvalue()


def settings() -> Iterator[str]:
    """Every class of settings."""
    yield "# Settings\n\nEach is a frozen dataclass: a setting is a flag, a line of a YAML file, and an argument in Python.\n"
    for name in config.__all__:
        yield f"::: seqsetvae.config.{name}\n"


def python() -> Iterator[str]:
    """Every name of the package but the settings."""
    yield "# In Python\n\n`import seqsetvae` is all that a script needs; settings have [a page of their own](settings.md).\n"
    for name in sorted({*seqsetvae.__all__} - {*config.__all__}):
        yield f"::: {getattr(seqsetvae, name).__module__}.{name}\n"


def names() -> Iterator[str]:
    """Names of metrics, tags and files."""
    yield "# Metrics, tags, files\n\nWhat a run records, by the names under which code and UI know it.\n"
    yield "::: seqsetvae.names\n    options:\n      show_root_heading: false\n      show_if_no_docstring: true\n"


def tried() -> Iterator[str]:
    """Every item of the guides, with the test that tries what it does here."""
    root = Path(__file__).parents[1] / "tests" / "docs"
    guides, tests = (
        yaml.safe_load((root / name).read_text(encoding="utf-8")) for name in ("guides.yaml", "tried.yaml")
    )
    test_of = {item: test for test, items in tests.items() for item in items}
    yield "# The guides' items, tried\n"
    yield "What each is called here, and why: [From the guides](../from-the-guides.md). `make test nightly` runs these tests.\n"
    for guide, kinds in guides.items():
        yield f"## {guide}\n\n| item | tried by |\n|---|---|"
        yield from (f"| `{item}` | `{test_of[item]}` |" for items in kinds.values() for item in items)
        yield ""


def benchmarks() -> Iterator[str]:
    """What `make bench` has measured last: a file per benchmark in docs/benchmarks."""
    yield "# Benchmarks\n\nWhat `make bench` has measured, table by table; what it means is told in [Speed](../speed.md).\n"
    for path in sorted(BENCHMARKS.glob("*.json")):
        found = json.loads(path.read_text(encoding="utf-8"))
        about = ast.get_docstring(ast.parse((MEASURING / f"{path.stem}.py").read_text(encoding="utf-8"))) or ""
        quick = " --quick true" if found["quick"] else ""
        machine = [found["processor"], f"{found['cores']} cores", f"{found['threads']} threads"]
        machine += [found["gpu"] or "no GPU", f"PyTorch {found['torch']}", f"load {found['load']} before it"]
        yield f"## {path.stem}\n\n{about.splitlines()[0]}\n"
        yield f"`seqsetvae bench --only {path.stem}{quick}` on {found['measured']}: {', '.join(machine)}.\n"
        for table in found["tables"]:
            rows = [tuple(row) for row in table["rows"]]
            yield Table(table["title"], tuple(table["columns"]), rows, table["note"]).markdown() + "\n"


PAGES = {
    "benchmarks": benchmarks,
    "tried": tried,
    "command-line": command_line,
    "settings": settings,
    "python": python,
    "names": names,
}

"""docs/from-the-guides.md: nothing that the guides name is missing, and everything that it points to is there."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonargparse import ArgumentParser, Namespace

from seqsetvae import names
from seqsetvae.app import arguments, spelling
from seqsetvae.app.verbs import VERBS
from seqsetvae.data.sources import SOURCES
from seqsetvae.errors import InputError

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "from-the-guides.md").read_text(encoding="utf-8")
GUIDES: dict[str, dict[str, list[str]]] = yaml.safe_load(Path(__file__).with_name("guides.yaml").read_text())
ITEMS = {item for guide in GUIDES.values() for items in guide.values() for item in items if not item.startswith("-")}
NAMED = {value for key, value in vars(names).items() if key.isupper()}
SPAN = re.compile(r"`([^`]+)`")


def sections() -> dict[str, str]:
    """Text of each chapter by its heading, in order."""
    parts = re.split(r"^## (.+)$", DOCUMENT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def rows(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """The code spans of the first cell and those of the others, for each row of the tables of a text."""
    for line in re.findall(r"^\| *`.+$", text, flags=re.MULTILINE):
        cells = line.strip().strip("|").split(" | ")
        yield SPAN.findall(cells[0]), [span for cell in cells[1:] for span in SPAN.findall(cell)]


def guides_items(text: str) -> set[str]:
    return {item for left, _ in rows(text) for item in left}


def spans_here() -> list[str]:
    """Every code span that is no item of a guide: it names something of this project."""
    tables = [span for _, here in rows(DOCUMENT) for span in here]
    prose = re.sub(r"^```.*?^```|^\|.*?$", "", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    return sorted(set(tables + SPAN.findall(prose)))


def commands() -> list[str]:
    """Lines of the blocks of code, and code spans that are whole commands."""
    lines = [
        line
        for block in re.findall(r"^```bash\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    return sorted(
        {*lines, *(span for span in spans_here() if span.startswith(("seqsetvae ", "mlflow ", "make ")))} - PLACEHOLDERS
    )


PLACEHOLDERS = {"seqsetvae VERB --help", "mlflow run . -e VERB -P setting=value"}


class ParsedError(Exception):
    """Carries a parser out of a verb, which then runs no further."""

    def __init__(self, parser: ArgumentParser) -> None:
        self.parser = parser


def parser_of(words: list[str], monkeypatch: pytest.MonkeyPatch, *, parsing: bool) -> ArgumentParser:
    """The parser that a verb makes; with `parsing`, after it has accepted the words and the settings classes have, too."""
    real = arguments.parse

    def parse(parser: ArgumentParser, given: list[str]) -> Namespace:
        if parsing:
            parser.instantiate(real(parser, given))
        raise ParsedError(parser)

    monkeypatch.setattr(arguments, "parse", parse)
    with pytest.raises(ParsedError) as raised:
        VERBS[words[0]](words[1:])
    return raised.value.parser


@cache
def flags_of_all_verbs() -> frozenset[str]:
    """Every grouped flag of the command line."""
    found: set[str] = set()
    for words in [*([verb] for verb in VERBS if verb != "prepare"), *(["prepare", source] for source in SOURCES)]:
        with pytest.MonkeyPatch.context() as monkeypatch:
            found |= arguments._flags(parser_of(words, monkeypatch, parsing=False)).keys()
    return frozenset(f"--{flag}" for flag in found)


@cache
def strings_of_the_code() -> tuple[str, ...]:
    """Every text in the package's code, f-strings with a * for each value, without docstrings."""
    found: list[str] = []
    for path in sorted((ROOT / "seqsetvae").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(one.value) if isinstance(one, ast.Constant) else "*" for one in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
                found.append(node.value)
    return tuple(found)


def is_written(file: str) -> bool:
    """Whether the code has this file name; as an f-string, one whose values the code has, too, or the name leaves open as `*`.

    `final_*.ckpt` is `{ending}_{step:07d}.ckpt` with the ending `final`.
    """
    texts = strings_of_the_code()
    if any(text.rpartition("/")[2] == file for text in texts):
        return True
    for text in texts:
        # Lightning fills a template and puts the ending behind it.
        pattern = re.sub(r"\{[^}]*\}", "*", text)
        for whole in (pattern, f"{pattern}.ckpt"):
            if "*" in file and (found := re.fullmatch("(.+)".join(map(re.escape, whole.split("*"))), file)):
                values = [value for value in found.groups() if set(value) - set("*_")]
                if all(value in texts for value in values):
                    return True
    return False


def kind_of(span: str) -> str:
    """What a code span means: anything that is not one of these is a mistake of the document."""
    if span in PLACEHOLDERS or span in NAMED or span in VERBS or span in ITEMS:
        return "named"
    if span.startswith(("seqsetvae ", "mlflow ", "make ")):
        return "command"
    if span.startswith("--"):
        return "flag"
    if span.startswith("seqsetvae."):
        return "python"
    if (ROOT / span).exists():
        return "path"
    return "file" if is_written(span) else "unknown"


@pytest.mark.parametrize("guide", GUIDES)
def test_every_item_of_the_guides_has_its_place(guide):
    chapters = sections()
    earlier = list(GUIDES)[: list(GUIDES).index(guide) + 1]
    placed = set().union(*(guides_items(chapters[one]) for one in earlier))
    assert [item for items in GUIDES[guide].values() for item in items if item not in placed] == []


def test_no_item_is_made_up():
    flags = {item for guide in GUIDES.values() for item in guide["flags"]}
    assert guides_items(DOCUMENT) - ITEMS - flags == set()


@pytest.mark.parametrize("span", [span for span in spans_here() if kind_of(span) != "command"])
def test_what_is_pointed_to_exists(span):
    kind = kind_of(span)
    assert kind != "unknown", f"{span} is no flag, name, file, metric or path of this project"
    if kind == "flag":
        known = flags_of_all_verbs()
        short = {f"--{flag.rpartition('.')[2]}" for flag in known} | {f"--{word}" for word in spelling.OTHER_WORDS}
        assert span.split()[0] in known | short | {"--config"}
    if kind == "python":
        resolve(span)


def resolve(dotted: str) -> Any:
    """A module, or an attribute of one. Raises where there is none."""
    parts = dotted.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        for name in parts[split:]:
            found = getattr(found, name)
        return found
    raise ModuleNotFoundError(dotted)


@pytest.mark.parametrize("command", commands())
def test_every_command_parses(command, monkeypatch):
    program, *words = shlex.split(command)
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return
    if program == "mlflow":
        run, here, option, verb, *settings = words
        assert (run, here, option) == ("run", ".", "-e")
        assert verb in yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
        words = [verb, *(f"--{setting}" for setting in settings if setting != "-P")]
    parser_of(words, monkeypatch, parsing=True)


def test_a_mistake_is_found(monkeypatch):
    """The checks above can fail."""
    assert kind_of("no_such_figure.png") == kind_of("nonsense_*.ckpt") == "unknown"
    assert "--data.no_such_flag" not in flags_of_all_verbs()
    with pytest.raises(AttributeError):
        resolve("seqsetvae.names.NO_SUCH_NAME")
    with pytest.raises(InputError):
        parser_of(["pretrain", "--no_such_flag", "1"], monkeypatch, parsing=True)

"""Makes the package `collapse_monitor` of modules of seqsetvae: those that its front door names, and all that they import."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "seqsetvae"
NAME = re.compile(r"\bseqsetvae\b")


def assigned(file: Path, name: str) -> Any:
    """What a module gives a name, without importing it."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return ast.literal_eval(node.value)
    raise ValueError(f"{file} tells no {name}.")


def front_door() -> dict[str, str]:
    """Name -> module, as the package's `__init__` has them."""
    found: dict[str, str] = assigned(HERE / "collapse_monitor" / "__init__.py", "HOMES")
    return found


def file_of(module: str) -> Path | None:
    """Of `a.b` the file `a/b.py` or `a/b/__init__.py`; None where it is no module but a name in one."""
    path = SOURCE.joinpath(*module.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


def imported(node: ast.AST) -> Iterator[str]:
    """Modules of seqsetvae, without its name, that a module imports, at its top or in a function; not those for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and (child.module or "").split(".")[0] == "seqsetvae":
            home = (child.module or "").partition(".")[2]
            for alias in child.names:
                inner = f"{home}.{alias.name}".lstrip(".")
                yield inner if file_of(inner) else home
        yield from imported(child)


def modules() -> set[str]:
    """What the front door needs, packages included."""
    found: set[str] = set()
    waiting = [*front_door().values()]
    while waiting:
        module = waiting.pop()
        file = file_of(module)
        if module in found or not module:
            continue
        assert file is not None, f"seqsetvae.{module} is no module"
        found.add(module)
        waiting += [*imported(ast.parse(file.read_text(encoding="utf-8"))), module.rpartition(".")[0]]
    return found


def assemble(target: Path) -> list[Path]:
    """Write the modules below a folder `collapse_monitor`; what was written."""
    written = []
    for module in sorted(modules()):
        file = file_of(module)
        assert file is not None
        copy = target / file.relative_to(SOURCE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(NAME.sub("collapse_monitor", file.read_text(encoding="utf-8")), encoding="utf-8")
        written.append(copy)
    return written

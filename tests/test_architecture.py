"""The floors and homes of the package: imports run downward only, and each outside library has one home."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "seqsetvae"

# A unit is a file or a folder directly under seqsetvae/. It may import units of lower floors and itself.
FLOORS = {
    "__init__": 0,
    "atomic": 0,
    "console": 1,
    "errors": 0,
    "names": 0,
    "palette": 0,
    "templates": 1,
    "progress": 0,
    "streams": 0,
    "threads": 0,
    "user": 0,
    "batch": 1,
    "config": 1,
    "extras": 1,
    "posterior": 1,
    "scores": 1,
    "collapse": 2,
    "curves": 2,
    "data": 2,
    "model": 2,
    "objective": 2,
    "tracking": 2,
    "figures": 3,
    "tasks": 3,
    "analysis": 4,
    "training": 4,
    "certify": 5,
    "dashboard": 5,
    "evaluation": 5,
    "serving": 5,
    "tuning": 5,
    "app": 7,
    "cli": 8,
    "__main__": 8,
}
# A step sideways: the decoder's distribution and the ELBO's terms are defined, without any module, in objective.
SIDEWAYS = {("model", "objective")}

HOMES = {
    "apprise": ["training/monitor/notify.py"],
    "jinja2": ["templates/"],
    "jsonargparse": ["app/"],
    "lightning": ["data/module.py", "training/", "tracking/write/logger.py", "certify/", "app/composition.py"],
    "matplotlib": ["figures/"],
    # serving/ holds the files that MLflow itself runs.
    "mlflow": ["tracking/", "serving/"],
    "nicegui": ["dashboard/"],
    "optuna": ["tuning/"],
    # MLflow's tables are read there, after a look at their version.
    "sqlalchemy": ["tracking/compat/"],
    "sqlite3": ["tracking/compat/"],
    "sklearn": ["evaluation/", "figures/"],
    "starlette": ["dashboard/"],
    "tensorboard": ["tracking/tensorboard/"],
    "textual": ["dashboard/"],
    "textual_plotext": ["dashboard/"],
    "umap": ["figures/"],
}
# The rooms of tracking/, likewise.
ROOMS = {"compat": 0, "connection": 1, "read": 2, "registry": 2, "write": 2, "tensorboard": 3}
INSIDE = "tracking/compat/"
PUBLIC = re.compile(
    r"mlflow(\.(MlflowClient|entities(\.model_registry)?\.[A-Z]\w+|exceptions\.\w+|artifacts\.\w+|models(\.[A-Z]\w+)?|"
    r"pyfunc(\.model\.PythonModel)?|types\.schema\.\w+|environment_variables\.[A-Z]\w+))?"
)
"""What MLflow documents. Everything else of it is imported in `INSIDE` alone, and held by tests/tracking/test_compat.py."""
# `seqsetvae --help` and the settings must answer without loading torch.
TORCH_FREE = [
    "__init__.py",
    "__main__.py",
    "app/",
    "atomic.py",
    "cli.py",
    "config/",
    "errors.py",
    "names.py",
    "palette.py",
    "streams.py",
    "user.py",
]
# What is said goes through logging, and one handler shows it; the command line's own answers, such as its help, are printed.
PRINTING = ["app/"]
# The model is silent: neither printing nor logging nor files.
SILENT = ["batch.py", "collapse/", "model/", "objective.py", "posterior.py"]
# What works with the numbers of a run never sees settings that may have gaps, but for a doctest that settles some.
SETTLED_ONLY = ["collapse/", "figures/", "model/", "objective.py"]
GIVEN = {
    f"seqsetvae.config.{name}Config" for name in ("Data", "Objective", "Optimizer", "Trainer", "Monitor", "Pretrain")
}
# Not in the wheel.
OUTSIDE = {"benchmarks", "hypothesis", "pytest", "tests"}
# A file is there whole or not at all by way of atomic.py, or lies in a folder that becomes visible as one.
WRITING_BESIDE = [
    "atomic.py",
    # A store is made beside its place.
    *("data/overview.py", "data/preparation.py", "data/quarantine.py", "data/report_page.py"),
    "tracking/write/spool.py",  # a journal, whose reader knows what half a record is
    *("tracking/registry/registering.py", "tracking/tensorboard/old_run_writer.py"),  # temporary, to be uploaded
    *("tracking/write/attachments.py", "tracking/write/shipper.py"),
]


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all imports, at the top or inside a function."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from seqsetvae import names` names the unit only behind the `import`.
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)


def lies_in(file: str, places: list[str]) -> bool:
    return any(file == place or (place.endswith("/") and file.startswith(place)) for place in places)


def violations(package: Path) -> list[str]:
    """One line for every breach of the rules above in a package folder."""
    found = []
    for path in sorted(package.rglob("*.py")):
        file = path.relative_to(package).as_posix()
        unit = file.removesuffix(".py").split("/")[0]
        if unit not in FLOORS:
            found.append(f"{file}: has no floor")
            continue
        if path.stem in {"utils", "util", "helpers", "misc"}:
            found.append(f"{file}: a name that says nothing")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for name in imports(tree):
            found.extend(f"{file}: {reason}" for reason in import_breaches(file, unit, name))
        if not lies_in(file, WRITING_BESIDE):
            found.extend(f"{file}:{line}: writes a file other than by atomic_write" for line in half_writes(tree))
        if lies_in(file, SILENT):
            found.extend(f"{file}:{node.lineno}: {name}() is not silent" for node, name in loud_calls(tree))
        elif not lies_in(file, PRINTING):
            prints = (node for node, name in loud_calls(tree) if name == "print")
            found.extend(f"{file}:{node.lineno}: print() is for app/ only: what is said is logged" for node in prints)
    return found


def import_breaches(file: str, unit: str, name: str) -> Iterator[str]:
    library, _, rest = name.partition(".")
    if name.startswith("."):
        yield f"relative import {name}"
    elif library in OUTSIDE:
        yield f"{library} is not in the wheel"
    elif name in GIVEN and lies_in(file, SETTLED_ONLY):
        yield f"takes {name.rpartition('.')[2]}, which may have gaps: its settled class is meant"
    elif library == "seqsetvae":
        target = rest.split(".")[0]
        # Anything else behind `from seqsetvae import` is an attribute of the package itself.
        target = target if target in FLOORS else "__init__"
        # The front door names what stands behind it, for type checkers, and loads it when it is first used.
        if unit == "__init__":
            return
        if target != unit and FLOORS[target] >= FLOORS[unit] and (unit, target) not in SIDEWAYS:
            yield f"floor {FLOORS[unit]} imports seqsetvae.{target} of floor {FLOORS[target]}"
        room, other = (
            path.split("/")[1] if path.startswith("tracking/") else "" for path in (file, rest.replace(".", "/"))
        )
        if {room, other} <= ROOMS.keys() and room != other and ROOMS[other] >= ROOMS[room]:
            yield f"tracking/{room}/ imports tracking/{other}/, which is not below it"
    elif (
        library == "mlflow"
        and not file.startswith(INSIDE)
        and lies_in(file, HOMES["mlflow"])
        and not PUBLIC.fullmatch(name)
    ):
        yield f"{name} is inside MLflow: it belongs in {INSIDE}"
    elif library in HOMES and not lies_in(file, HOMES[library]):
        yield f"{library} is at home in {', '.join(HOMES[library])} only"
    elif library == "torch" and lies_in(file, TORCH_FREE):
        yield "imports torch"
    elif library == "logging" and lies_in(file, SILENT):
        yield "imports logging, but is silent"


def loud_calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"print", "open"}:
            yield node, node.func.id


def half_writes(tree: ast.AST) -> Iterator[int]:
    """Lines of calls that write a file in place, or make one to be moved by hand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            mode = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
            opens = node.func.attr == "open" and str(mode).startswith(("w", "x"))
            if opens or node.func.attr in {"write_text", "write_bytes", "NamedTemporaryFile", "mkstemp"}:
                yield node.lineno


def test_the_package_keeps_its_floors_and_homes():
    assert violations(PACKAGE) == []


def classes(package: Path) -> dict[str, list[str]]:
    """Files of each name that a class of the package has."""
    found: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(path.relative_to(package).as_posix())
    return found


def test_two_classes_never_share_a_name():
    assert {name: files for name, files in classes(PACKAGE).items() if len(files) > 1} == {}


@pytest.mark.parametrize(
    ("file", "source", "said"),
    [
        ("posterior.py", "from seqsetvae.model.vae import SeqSetVAE", "floor 1 imports seqsetvae.model of floor 2"),
        ("data/store.py", "from seqsetvae import model", "floor 2 imports seqsetvae.model of floor 2"),
        ("objective.py", "import seqsetvae.model", "floor 2 imports seqsetvae.model of floor 2"),
        ("training/fit.py", "def f():\n    import seqsetvae.analysis.curves", "floor 4 imports seqsetvae.analysis of floor 4"),
        ("analysis/curves.py", "from seqsetvae.training import fit", "floor 4 imports seqsetvae.training of floor 4"),
        ("model/vae.py", "from .attention import SetAttention", "relative import .attention.SetAttention"),
        ("training/fit.py", "def f():\n    from mlflow import MlflowClient", "mlflow is at home in tracking/, serving/ only"),
        ("tracking/read/follow.py", "from mlflow.utils.rest_utils import http_request", "is inside MLflow: it belongs in tracking/compat/"),
        ("tracking/start.py", "from mlflow.environment_variables import _MLFLOW_TRACKING_URI", "is inside MLflow"),
        ("serving/served.py", "from mlflow.pyfunc import scoring_server", "is inside MLflow"),
        ("tracking/read/follow.py", "def f():\n    import sqlalchemy as sa", "sqlalchemy is at home in tracking/compat/ only"),
        ("tracking/connection/opening.py", "from seqsetvae.tracking.write.run import Run", "imports tracking/write/, which is"),
        ("tracking/read/follow.py", "from seqsetvae.tracking.write import run", "imports tracking/write/, which is"),
        ("data/store.py", "import lightning.pytorch as pl", "lightning is at home in"),
        ("config/tune.py", "import torch", "imports torch"),
        ("app/verbs.py", "def f():\n    from torch import nn", "imports torch"),
        ("model/vae.py", "import logging", "imports logging"),
        ("collapse/rules.py", "def f():\n    print(1)", "print() is not silent"),
        ("training/fit.py", "print(1)", "print() is for app/ only"),
        ("data/utils.py", "", "a name that says nothing"),
        ("certify/cases.py", "def f():\n    from tests.support import mlflow_server", "tests is not in the wheel"),
        ("certify/run.py", "import benchmarks.run", "benchmarks is not in the wheel"),
        ("collapse/detector.py", "from seqsetvae.config import MonitorConfig", "MonitorConfig, which may have gaps"),
        ("certify/run.py", "def f(path):\n    path.write_text('half')", "writes a file other than by atomic_write"),
        ("analysis/report.py", "def f(path):\n    path.open('wb')", "writes a file other than by atomic_write"),
        ("newcomer.py", "", "has no floor"),
    ],
)  # fmt: skip
def test_a_breach_is_found(tmp_path, file, source, said):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    [line] = violations(tmp_path)
    assert line.startswith(file)
    assert said in line


@pytest.mark.parametrize(
    ("file", "source"),
    [
        (
            "model/vae.py",
            "import torch\nfrom seqsetvae import __version__, names\nfrom seqsetvae.model.history import A",
        ),
        ("tracking/compat/tables.py", "import sqlite3\nfrom mlflow.store.db import utils"),
        (
            "tracking/write/run.py",
            "from mlflow.entities.model_registry import ModelVersion\nfrom mlflow import MlflowClient",
        ),
        (
            "tracking/write/start.py",
            "from seqsetvae.tracking.write.run import Run\nfrom seqsetvae.tracking.connection import lookup",
        ),
        ("model/set_decoder.py", "from seqsetvae.objective import EventDistribution"),
        ("objective.py", "from seqsetvae.config.settled import SettledObjective"),
        (
            "data/report_page.py",
            "def f(path):\n    path.write_text('in a folder beside its place')\n    path.open('rb')",
        ),
        ("app/arguments.py", "from seqsetvae.training.fit import fit\nfrom jsonargparse import ArgumentParser"),
    ],
)
def test_what_is_allowed_is_not_reported(tmp_path, file, source):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    assert violations(tmp_path) == []

"""A served model is installed with what it imports, in the versions that were tested, and nothing of training."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib.metadata import distributions, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from seqsetvae.tracking.registry.requirements import constraints, requirements

LOADED = """
import json, sys
import seqsetvae.serving.latents, seqsetvae.serving.mortality
assert "lightning" not in sys.modules
print(json.dumps([module.__file__ for name, module in list(sys.modules.items()) if name.startswith("seqsetvae")]))
"""


def installed() -> dict[str, str]:
    """What the tests run on: the lock's versions, as tests/test_packaging.py holds, or the lowest that are allowed."""
    return {canonicalize_name(one.name): one.version.partition("+")[0] for one in distributions()}


def pinned(lines: list[str]) -> dict[str, str]:
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): next(iter(one.specifier)).version for one in found}


def test_the_pins_are_what_was_tested_and_hold_what_mlflow_needs_to_serve():
    assert pinned(requirements()).items() <= pinned(constraints()).items()
    assert pinned(constraints()).items() <= installed().items()
    assert {"mlflow-skinny", "uvicorn", "fastapi", "sqlalchemy"} <= pinned(constraints()).keys()


def imports(file: str) -> set[str]:
    """Libraries that a module imports as soon as it is loaded."""
    found = set()
    for node in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"seqsetvae"}


def test_the_code_of_a_served_model_imports_what_is_pinned_with_it_and_not_lightning():
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    files = json.loads(done.stdout.splitlines()[-1])
    libraries = set().union(*map(imports, files))
    assert {"torch", "mlflow", "safetensors"} <= libraries
    owners = {canonicalize_name(owner) for name in libraries for owner in packages_distributions()[name]}
    assert owners - {"mlflow-skinny", "mlflow-tracing"} <= pinned(requirements()).keys()

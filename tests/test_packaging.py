"""One source of truth for versions, and an installed package that is complete and quick to answer."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from seqsetvae.app.verbs import VERBS
from seqsetvae.extras import LIBRARIES

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {
    extra: [Requirement(line) for line in lines]
    for extra, lines in PROJECT["optional-dependencies"].items()
    if extra not in ("all", "dev", "notebooks")
}
CORE = [Requirement(line) for line in PROJECT["dependencies"]]
RUNTIME = CORE + [requirement for extra in EXTRAS.values() for requirement in extra]
DEV = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"]]


def pins(lines: list[str]) -> dict[str, str]:
    """Package -> exact version; anything but `name==version` is an error."""
    found: dict[str, str] = {}
    for line in lines:
        requirement = Requirement(line)
        [specifier] = requirement.specifier
        assert (specifier.operator, requirement.url, requirement.marker) == ("==", None, None), line
        found[canonicalize_name(requirement.name)] = specifier.version
    assert len(found) == len(lines), "a package is pinned twice"
    return found


def locked() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    return pins([line for line in lines if not line.startswith("#")])


def conda() -> dict[str, str]:
    dependencies = yaml.safe_load((ROOT / "conda.yaml").read_text())["dependencies"]
    [pip] = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    return pins(pip)


@pytest.mark.parametrize("requirement", RUNTIME + DEV, ids=str)
def test_the_lock_is_within_the_range_of_each_dependency(requirement):
    assert locked()[canonicalize_name(requirement.name)] in requirement.specifier


@pytest.mark.parametrize("requirement", RUNTIME, ids=str)
def test_conda_has_each_runtime_dependency(requirement):
    assert canonicalize_name(requirement.name) in conda()


def test_conda_and_the_lock_agree():
    assert conda().items() <= locked().items()
    assert "pytest" not in conda(), "the run environment goes without development tools"


def test_the_lock_can_be_installed_anywhere():
    assert not any("+" in version for version in locked().values()), "a build of one machine"
    cuda = {name for name in locked() if name.startswith(("nvidia-", "cuda-", "triton"))}
    assert cuda == {"nvidia-ml-py"}, "CUDA packages are for torch to ask for"


def test_conda_is_what_mlflow_expects():
    content = yaml.safe_load((ROOT / "conda.yaml").read_text())
    assert set(content) == {"name", "channels", "dependencies"}
    assert content["dependencies"][:2] == ["python=3.11", "pip"]


def test_what_is_installed_is_what_is_locked():
    """Otherwise the other tests prove nothing about the lock."""
    versions = {name: importlib.metadata.version(name).partition("+")[0] for name in (r.name for r in RUNTIME + DEV)}
    assert {canonicalize_name(name): version for name, version in versions.items()}.items() <= locked().items()


DISTRIBUTIONS = importlib.metadata.packages_distributions()


def owners(library: str) -> set[str]:
    """The installed packages that a library is imported from."""
    return {canonicalize_name(owner) for owner in DISTRIBUTIONS.get(library, [])}


@pytest.mark.parametrize("extra", LIBRARIES)
def test_an_extra_brings_the_libraries_it_is_asked_for(extra):
    declared = {canonicalize_name(requirement.name) for requirement in EXTRAS[extra]}
    assert all(owners(library) & declared for library in LIBRARIES[extra])


def test_all_is_every_extra():
    [everything] = PROJECT["optional-dependencies"]["all"]
    assert Requirement(everything).extras == set(EXTRAS)
    assert set(EXTRAS) - {"serve"} == set(LIBRARIES)


def test_every_library_that_is_imported_is_declared():
    declared = {canonicalize_name(requirement.name) for requirement in RUNTIME}
    for path in sorted((ROOT / "seqsetvae").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for library in {str(name).partition(".")[0] for name in names} - sys.stdlib_module_names - {"seqsetvae"}:
                assert owners(library) & declared, (
                    f"{path.name} imports {library} ({owners(library) or 'not installed'}), which is not declared"
                )


def answers(python: str) -> bool:
    """Whether an interpreter is there: a name on the path may be a signpost to one that is not."""
    try:
        return subprocess.run([python, "-c", "pass"], capture_output=True).returncode == 0
    except OSError:
        return False


PYTHONS = [
    name.removeprefix("Programming Language :: Python :: ") for name in PROJECT["classifiers"] if " :: 3." in name
]
READ = "import sys, pathlib; [compile(path.read_bytes(), str(path), 'exec') for path in pathlib.Path(sys.argv[1]).rglob('*.py')]"


@pytest.mark.parametrize("python", [sys.executable, *filter(answers, (f"python{version}" for version in PYTHONS))])
def test_each_python_that_is_here_reads_the_package_without_a_warning(python):
    assert "3.11" in PYTHONS
    assert "3.13" in PYTHONS
    done = subprocess.run([python, "-W", "error", "-c", READ, str(ROOT / "seqsetvae")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "file",
    ["data/demo/physionet2012-demo.parquet", "data/demo/ATTRIBUTION.md"]
    + [
        f"templates/{path.name}"
        for path in (ROOT / "seqsetvae" / "templates").iterdir()
        if path.suffix in (".css", ".jinja")
    ],
)
def test_data_and_templates_are_package_data(file):
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["seqsetvae"]
    path = ROOT / "seqsetvae" / file
    assert path.is_file()
    assert any(path.relative_to(ROOT / "seqsetvae").match(pattern) for pattern in patterns)


def test_entry_points_are_verbs_of_the_command_line():
    entry_points = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]
    assert {name: entry["command"] for name, entry in entry_points.items()} == {
        "main": "python -m seqsetvae pretrain",
        "pretrain": "python -m seqsetvae pretrain",
        "prepare": "python -m seqsetvae prepare {source}",
        "check": "python -m seqsetvae check",
        "tune": "python -m seqsetvae tune",
        "analyze": "python -m seqsetvae analyze",
        "visualize": "python -m seqsetvae visualize",
        "register": "python -m seqsetvae register",
        "finetune": "python -m seqsetvae finetune",
        "evaluate": "python -m seqsetvae evaluate",
        "forecast": "python -m seqsetvae forecast",
        "impute": "python -m seqsetvae impute",
        "certify": "python -m seqsetvae certify",
    }
    assert set(entry_points) - {"main"} <= set(VERBS)


@pytest.mark.parametrize("module", ["seqsetvae.app.main", "seqsetvae.config", "seqsetvae.names"])
def test_heavy_libraries_are_not_imported_before_they_are_needed(module):
    code = f"import sys, {module}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "mlflow", "lightning", "pandas", "pyarrow", "matplotlib"} & set(loaded)


def test_the_benchmarks_of_an_installed_package_are_in_its_source(tmp_path):
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert packages == ["seqsetvae*"], "neither benchmarks nor tests"
    shutil.copytree(ROOT / "seqsetvae", tmp_path / "seqsetvae", ignore=shutil.ignore_patterns("demo", "__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "seqsetvae", "bench", "--only", "step"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert "the folder benchmarks/ of its source" in line

"""The wheel is made in a checkout of seqsetvae: its modules go in under the name of this package."""

import ast
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent))
from assemble import SOURCE, assemble


class Assembled(build_py):
    """Adds them to what is copied."""

    def run(self) -> None:
        super().run()
        assemble(Path(self.build_lib) / "collapse_monitor")


def version() -> str:
    """That of seqsetvae."""
    for node in ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__version__":
            return str(ast.literal_eval(node.value))
    raise ValueError("seqsetvae tells no version.")


setup(version=version(), cmdclass={"build_py": Assembled})

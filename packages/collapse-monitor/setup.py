"""The wheel is made in a checkout of seqsetvae: its modules go in under the name of this package."""

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

sys.path.insert(0, str(Path(__file__).parent))
from assemble import SOURCE, assemble, assigned


class Assembled(build_py):
    """Adds them to what is copied."""

    def run(self) -> None:
        super().run()
        assemble(Path(self.build_lib) / "collapse_monitor")


setup(version=assigned(SOURCE / "__init__.py", "__version__"), cmdclass={"build_py": Assembled})

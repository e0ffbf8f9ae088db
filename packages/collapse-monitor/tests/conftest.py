"""The code of the README, by the heading that it stands under."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"


def run_block(heading: str, **known: Any) -> dict[str, Any]:
    """Run the Python block under a heading, and give back its names."""
    section = README.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    names = dict(known)
    exec(compile(found[1], heading, "exec"), names)
    return names

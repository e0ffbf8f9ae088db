"""The pages that are HTML: Jinja2 templates, in which every word that comes from outside is escaped."""

from __future__ import annotations

import re
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.filters import do_forceescape, do_mark_safe

from seqsetvae import palette

ENVIRONMENT = Environment(
    loader=PackageLoader("seqsetvae", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
ENVIRONMENT.globals["level_colors"] = palette.LEVELS


def whole_flags(text: str) -> str:
    """The text as HTML, in which no flag is broken between two lines.

    >>> str(whole_flags("Lower --objective.max_beta, if < 1."))
    'Lower <span class="flag">--objective.max_beta</span>, if &lt; 1.'
    """
    return do_mark_safe(re.sub(r"--\w[\w.]*\w", r'<span class="flag">\g<0></span>', str(do_forceescape(text))))


ENVIRONMENT.filters["whole_flags"] = whole_flags


def page(name: str, **values: object) -> str:
    """A whole page: a template with its values."""
    return ENVIRONMENT.get_template(name).render(values)


def piece(name: str, macro: str, *values: object) -> str:
    """One piece of a page: a macro of a template with its values."""
    return str(getattr(ENVIRONMENT.get_template(name).module, macro)(*values)).strip()


def text_of(name: str) -> str:
    """A file of this folder as it stands, such as a style sheet."""
    return files(__name__).joinpath(name).read_text(encoding="utf-8")

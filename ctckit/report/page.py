"""What every page has: one HTML file with style and script inside, and nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ctckit.errors import DataError
from ctckit.files import write_text

UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""Characters that HTML forbids or UTF-8 cannot hold; a clip id may bring them."""


def fill(template: str, **values: Any) -> str:
    """Return a page: the template with its values, style, script, and the hash by which the script may run."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = environment.get_template("script.html").render()
    page = environment.get_template(template).render(
        style=Markup(environment.get_template("style.html").render()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        **values,
    )
    return UNPRINTABLE.sub("\ufffd", page)


def write(page: str, path: Path) -> None:
    """Write a page, whole or not at all; ``-`` is standard output.

    Raises:
        DataError: the file cannot be written.
    """
    write_text(path, page, DataError)

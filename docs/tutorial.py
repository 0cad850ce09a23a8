"""The site's first page is the tutorial itself; there is one text, in plugins/README.md."""

from pathlib import Path
from typing import Any

TUTORIAL = Path(__file__).parents[1] / "plugins" / "README.md"


def on_page_read_source(page: Any, config: Any) -> str | None:  # noqa: ARG001  # mkdocs passes both by name
    """Give mkdocs the tutorial where it asks for the index."""
    return TUTORIAL.read_text(encoding="utf-8") if page.file.src_uri == "index.md" else None

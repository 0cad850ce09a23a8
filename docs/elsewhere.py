"""Pages of the site whose text has another home in the repository, so that there is one text of each."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "index.md": ROOT / "plugins" / "README.md",
    "founding-document.md": ROOT / "docs" / "founding-document.md",
    "cures.md": ROOT / "docs" / "cures.md",
}


def on_files(files: Any, config: Any) -> None:
    """Add the pages to those of ``docs/pages``."""
    for name, path in ELSEWHERE.items():
        files.append(File.generated(config, name, abs_src_path=str(path)))

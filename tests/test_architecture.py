"""The rules of ARCHITECTURE.md, checked on the syntax tree of every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "ctckit"
PLUGINS = ROOT / "plugins"

ALLOWED = {
    "types": set(),
    "errors": set(),
    "recipe": set(),
    "bootstrap": set(),
    "edits": set(),
    "breakdown": {"data", "edits"},
    "hookspecs": {"registry"},  # for its type only
    "plateau": {"types"},
    "actions": {"types"},
    "parameters": {"errors"},
    "files": {"errors"},
    "devices": {"errors"},
    "ops": {"errors", "types"},
    "transcripts": {"errors"},
    "data": {"errors", "transcripts", "types"},
    "config": {"errors", "files", "recipe"},
    "interfaces": {"actions", "errors", "types"},
    "record": {"actions", "errors", "types"},
    "search": {"ops", "types"},
    "decode": {"edits", "search", "types"},
    "tuning": {"edits", "search", "types"},
    "lm": {"errors", "ops"},
    "guidance": {"errors", "lm", "search"},
    "loss": {"errors", "ops", "types"},
    "scoring": {"decode", "loss", "ops", "search", "types"},
    "nn": {"ops", "scoring", "types"},
    "layouts": {"errors", "types"},
    "lines": {"actions", "record", "types"},
    "watcher": {
        "doctor",
        "engine",
        "errors",
        "layouts",
        "lines",
        "loss",
        "ops",
        "plateau",
        "record",
        "scoring",
        "types",
    },
    "integrations": {"errors", "watcher"},
    "toml": {"config", "errors"},
    "feasibility": {"data", "interfaces"},
    "registry": {"errors", "interfaces", "recipe", "types"},
    "doctor": {"record", "types"},
    "shifts": {"edits", "ops", "types"},
    "engine": {
        "actions",
        "config",
        "data",
        "errors",
        "files",
        "interfaces",
        "loss",
        "ops",
        "recipe",
        "record",
        "scoring",
        "search",
        "types",
    },
    "plugin_host": {"errors", "files", "hookspecs", "registry"},
    "report": {"doctor", "edits", "errors", "files", "record", "types"},
    "components": {
        "config",
        "engine",
        "errors",
        "interfaces",
        "parameters",
        "recipe",
        "record",
        "registry",
        "types",
    },
    "assemble": {
        "components",
        "config",
        "data",
        "engine",
        "errors",
        "feasibility",
        "interfaces",
        "ops",
        "plateau",
        "plugin_host",
        "record",
        "registry",
        "types",
        "stored",
        "transfer",
    },
    "stored": {"config", "engine", "errors", "search", "types"},
    "transfer": {"config", "data", "engine", "errors", "interfaces", "stored"},
    "trained": {
        "assemble",
        "components",
        "config",
        "data",
        "engine",
        "interfaces",
        "plugin_host",
        "registry",
        "search",
        "stored",
        "types",
    },
    "export": {"data", "errors", "recogniser", "trained", "types"},
    "long_alignment": {"types"},
    "alignment": {"data", "decode", "errors", "long_alignment", "loss", "ops", "recogniser", "types"},
    "lattice": {"alignment", "data", "decode", "edits", "errors", "ops", "recogniser", "types"},
    "calibration": {"edits", "record", "types"},
    "recogniser": {
        "data",
        "decode",
        "devices",
        "errors",
        "guidance",
        "lm",
        "loss",
        "ops",
        "search",
        "trained",
        "types",
    },
    "audit": {
        "assemble",
        "components",
        "config",
        "data",
        "edits",
        "engine",
        "errors",
        "feasibility",
        "interfaces",
        "loss",
        "ops",
        "plateau",
        "registry",
        "types",
    },
    "ablation": {
        "bootstrap",
        "config",
        "data",
        "doctor",
        "engine",
        "errors",
        "files",
        "recipe",
        "record",
        "toml",
        "trained",
    },
}
"""What each part may import of ctckit; `cli` stands above and may import all."""


def modules(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names of all that a module imports, at its top or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            # `from ctckit import ops` names a module, `from ctckit.ops import greedy` names one too
            found |= {f"{module}.{alias.name}" if module == "ctckit" else module for alias in node.names}
    return found


def part_of(path: Path) -> str:
    return path.relative_to(CORE).parts[0].removesuffix(".py")


def parts_imported(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imports(path) if name.startswith("ctckit.")}


@pytest.mark.parametrize("path", list(modules(CORE)), ids=lambda path: str(path.relative_to(ROOT)))
def test_core_imports_in_one_direction(path: Path) -> None:
    part = part_of(path)
    assert not {name for name in imports(path) if name.split(".")[0].startswith("ctckit_")}, "core imports a plugin"
    if part in ("__init__", "__main__", "cli", "testing"):
        return
    assert parts_imported(path) - {part} <= ALLOWED[part]


@pytest.mark.parametrize("part", sorted(ALLOWED))
def test_no_arrow_is_allowed_that_nobody_needs(part: str) -> None:
    paths = [path for path in modules(CORE) if part_of(path) == part]
    assert set().union(*map(parts_imported, paths)) - {part} == ALLOWED[part]


def test_every_part_is_accounted_for() -> None:
    present = {part_of(path) for path in modules(CORE)} - {"__init__", "__main__", "cli", "testing"}
    assert present == set(ALLOWED)


def test_parts_form_no_cycle() -> None:
    # hookspecs and registry name each other's types only; the hook is declared before there is a registry
    graph = {part: allowed for part, allowed in ALLOWED.items() if part != "hookspecs"}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", list(modules(PLUGINS)), ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_import_only_the_public_names(path: Path) -> None:
    own = path.relative_to(PLUGINS).parts[0]
    import ctckit

    for name in imports(path):
        top, _, rest = name.partition(".")
        if top == "ctckit":
            assert rest == "" or rest in ctckit.__all__ or rest.split(".")[0] == "testing", name
        if top.startswith("ctckit_"):
            assert top == own


def test_record_doctor_and_report_never_import_torch() -> None:
    for path in [path for part in ("record", "doctor", "report") for path in modules(CORE / part)]:
        assert not {name for name in imports(path) if name.split(".")[0] == "torch"}, path
    rooms = "ctckit.report.html, ctckit.report.comparison, ctckit.doctor.verdict, ctckit.record.foreign"
    program = f"import sys, {rooms}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_only_the_clock_writes_progress() -> None:
    for path in modules(CORE):
        if path in (CORE / "engine" / "clock.py", CORE / "types.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assigns = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and node.attr == "now"
            assert not assigns, f"{path} sets the clock"


def test_only_apply_knows_the_kinds_of_action() -> None:
    kinds = {
        node.name
        for node in ast.parse((CORE / "actions.py").read_text()).body
        if isinstance(node, ast.ClassDef) and node.name != "Action"
    }
    assert kinds
    for path in modules(CORE):
        if path in (CORE / "engine" / "apply.py", CORE / "actions.py", CORE / "__init__.py"):
            continue
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not names & kinds, path


def test_tree_has_no_utils_and_code_is_ascii() -> None:
    for path in [*modules(CORE), *modules(PLUGINS), *modules(ROOT / "tests"), *modules(ROOT / "benchmarks")]:
        assert path.name != "utils.py", path
        assert path.read_text(encoding="utf-8").isascii(), path


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout, so what is tracked cannot be told")
    return [Path(name) for name in listed.stdout.split("\0") if name]


MADE = {"build", "dist", "runs", ".venv", "__pycache__", ".build", ".benchmarks", ".hypothesis"}
"""Folders that tools and trainings leave behind; so do those whose names end in .egg-info or _cache."""

BUILT = {".so", ".o", ".a", ".pyc", ".whl", ".log", ".tmp"}
"""Suffixes of what compilers and tools leave behind."""

DATA = {".pt", ".pth", ".h5", ".hdf5", ".npy", ".npz"}
"""Suffixes of checkpoints and corpora, which may only be tracked as what a test begins with."""

LARGEST = 500_000
"""Bytes of the largest file that may be tracked; text that people write is smaller."""


def is_made(path: Path) -> bool:
    *folders, _ = path.parts
    left = any(part in MADE or part.endswith((".egg-info", "_cache")) for part in folders)
    return left or path.suffix in BUILT or (path.suffix in DATA and folders[:1] != ["tests"])


def test_nothing_is_tracked_that_was_made() -> None:
    assert not [str(path) for path in tracked() if is_made(path)]
    assert not [
        str(path) for path in tracked() if (ROOT / path).exists() and (ROOT / path).stat().st_size > LARGEST
    ]


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("build/lib/ctckit/types.py", True),
        ("ctckit.egg-info/PKG-INFO", True),
        (".mypy_cache/3.11/x.json", True),
        ("runs/demo/history.jsonl", True),
        ("examples/digits.h5", True),
        ("ctckit/ops/libctckit_kernels.so", True),
        ("tests/ops/shim.o", True),
        ("tests/engine/format_2/last.pt", False),
        (".github/workflows/tests.yml", False),
        ("CONTRIBUTING.md", False),
        ("examples/train.py", False),
        ("ctckit/ops/build.py", False),
    ],
)
def test_what_was_made_is_told_from_what_was_written(name: str, made: bool) -> None:
    assert is_made(Path(name)) is made


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "list"]])
def test_help_and_listing_import_neither_torch_nor_a_plugin(arguments: list[str]) -> None:
    program = (
        "import sys\n"
        "from ctckit.cli import main\n"
        f"main({arguments!r}, standalone_mode=False)\n"
        "heavy = {'torch', 'h5py', 'numpy', 'pydantic', 'ctckit_hierarchical'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    outcome = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr


def test_every_package_is_part_of_the_distribution() -> None:
    listed = (ROOT / "setup.py").read_text()
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in CORE.rglob("__init__.py")}
    assert not {name for name in packages if f'"{name}"' not in listed}

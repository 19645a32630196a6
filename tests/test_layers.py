"""The architecture: imports point one way, and what must not need torch does not."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1] / "src" / "seasoning"

# Lowest first; a module may import from lower layers and from its own folder. The order inside the vocabulary, the acts
# and the entry is written as layers of its own.
LAYERS = [
    ["differences", "errors", "files"],
    ["threat", "noise", "outcomes", "writing"],
    ["geometry", "losses", "metrics", "checkpoint"],
    ["attacks", "models", "data", "soup"],
    ["calibration", "evaluation"],
    ["training", "search"],
    ["store", "selection"],
    ["report"],
    ["config", "found"],
    ["goals"],
    ["plans", "recipe"],
    ["ingredients", "measuring", "opening", "resident", "run_folder"],
    ["few_shot"],
    ["kitchen", "soup_outcomes"],
    ["experiment", "making", "preparing", "searching", "single"],
    ["cli"],
]
NO_TORCH = [
    "differences",
    "errors",
    "files",
    "threat",
    "outcomes",
    "metrics",
    "store",
    "selection",
    "search",
    "report",
    "config",
    "found",
    "goals",
    "plans",
    "recipe",
    "cli",
]
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def place(path: Path) -> str:
    """The name a module goes by among the layers: its own, or that of its folder."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def level(name: str) -> int:
    return next(number for number, layer in enumerate(LAYERS) if name in layer)


def imported(path: Path) -> set[str]:
    """Parts of the package that a module imports, wherever in its text."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in found if name.startswith("seasoning.")}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    own = place(path)
    for name in imported(path) - {own, "__version__"}:
        assert level(name) < level(own), f"{own} imports {name}, which lies beside or above it"


def test_every_module_has_a_layer() -> None:
    named = [name for layer in LAYERS for name in layer]
    assert sorted({place(path) for path in MODULES}) == sorted(named)


def test_things_never_import_each_other() -> None:
    things = {"attacks", "models", "data", "soup"}
    for path in MODULES:
        if place(path) in things:
            assert not (imported(path) & things) - {place(path)}


def test_a_planted_upward_import_is_seen(tmp_path: Path) -> None:
    planted = tmp_path / "threat.py"
    planted.write_text("def late():\n    from seasoning.experiment import run\n    return run\n")
    assert imported(planted) == {"experiment"}


@pytest.mark.parametrize("name", NO_TORCH)
def test_judgement_and_presentation_need_no_torch(name: str) -> None:
    probe = f"import sys, seasoning.{name}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_modules_and_functions_stay_readable() -> None:
    for path in MODULES:
        text = path.read_text()
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                documentation = len((ast.get_docstring(node) or "").splitlines())
                length = node.end_lineno - node.lineno - documentation
                assert length <= 60, f"{path}: {node.name} has {length} lines"

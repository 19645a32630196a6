"""The architecture: imports point one way, and what must not need torch does not."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest


ROOT = Path(__file__).parents[1] / "src" / "seasoning"

# The seven floors, lowest first. A module imports from lower floors, its own folder, and on its own floor from what
# stands before it; what shares a set never imports each other.
FLOORS: list[list[set[str]]] = [
    [
        {"errors"},
        {"atomic", "threat", "noise"},
        {"outcomes", "losses", "geometry", "task"},
        {"statistics"},
        {"metrics"},
    ],
    [{"store", "checkpoints"}, {"attacks", "models", "data", "soup"}],
    [{"evaluation", "strategies", "selection"}, {"training"}],
    [{"config"}],
    [{"report"}],
    [{"commands"}],
    [{"cli"}],
]
NO_TORCH = (
    *("errors", "atomic", "threat", "task", "outcomes", "metrics", "store", "strategies", "selection"),
    *("config", "report", "cli"),
)
MOST_FLAT_MODULES = 10
EXPERIMENTS = sorted((ROOT.parents[1] / "experiments").glob("*.py"))
MODULES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def room(path: Path) -> str:
    """The name a module goes by among the floors: its own, or that of its folder."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def level(name: str) -> tuple[int, int]:
    """Floor, and position on it."""
    return next(
        (floor, position)
        for floor, groups in enumerate(FLOORS)
        for position, group in enumerate(groups)
        if name in group
    )


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
    own = room(path)
    for name in imported(path) - {own}:
        assert level(name) < level(own), f"{own} imports {name}, which lies beside or above it"


def test_every_module_has_a_floor() -> None:
    named = [name for groups in FLOORS for group in groups for name in group]
    assert sorted({room(path) for path in MODULES}) == sorted(named)


def test_few_modules_lie_flat() -> None:
    flat = [path.name for path in ROOT.glob("*.py") if path.name != "__init__.py"]
    assert len(flat) <= MOST_FLAT_MODULES, flat


def test_a_planted_upward_import_is_seen(tmp_path: Path) -> None:
    planted = tmp_path / "threat.py"
    planted.write_text("def late():\n    from seasoning.commands.demo import run\n    return run\n")
    assert imported(planted) == {"commands"}


@pytest.mark.parametrize("name", NO_TORCH)
def test_judgement_and_presentation_need_no_torch(name: str) -> None:
    names = [
        path.relative_to(ROOT.parent).with_suffix("").as_posix().replace("/", ".")
        for path in MODULES
        if room(path) == name
    ]
    probe = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def not_exported(path: Path) -> list[str]:
    """What a script imports of the package past an `__all__`: its own, a flat module's, a folder's or a command's."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name.startswith("seasoning.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "seasoning":
            name = str(node.module)
            deep = name.count(".") > (2 if name.startswith("seasoning.commands.") else 1)
            exported = () if deep else getattr(importlib.import_module(name), "__all__", ())
            found += [f"{name}.{alias.name}" for alias in node.names if alias.name not in exported]
    return found


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.name)
def test_experiments_import_what_is_exported(path: Path) -> None:
    assert not_exported(path) == []


def test_a_planted_import_past_an_export_is_seen(tmp_path: Path) -> None:
    planted = tmp_path / "study.py"
    allowed = (
        "from seasoning import mix\nfrom seasoning.threat import Norm\nfrom seasoning.commands.search import run_plan\n"
    )
    planted.write_text(allowed)
    assert not_exported(planted) == []
    planted.write_text(
        f"{allowed}import seasoning.training.loop\nfrom seasoning.training.loop import train\n"
        "def late():\n    from seasoning.training import _hidden\n    from seasoning.commands import search\n"
    )
    assert not_exported(planted) == [
        "seasoning.training.loop",
        "seasoning.training.loop.train",
        "seasoning.training._hidden",
        "seasoning.commands.search",
    ]


def test_modules_and_functions_stay_readable() -> None:
    for path in MODULES:
        text = path.read_text()
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                documentation = len((ast.get_docstring(node) or "").splitlines())
                length = node.end_lineno - node.lineno - documentation
                assert length <= 60, f"{path}: {node.name} has {length} lines"

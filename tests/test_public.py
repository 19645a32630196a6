"""The public names: importable from the package itself, stable, and cheap to import."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import seasoning


STABLE = [
    "Estimate",
    "Samples",
    "SeasoningError",
    "Threat",
    "accuracy",
    "apgd",
    "build_model",
    "check_mixable",
    "evaluate",
    "load_ingredient",
    "load_source",
    "mix",
    "mix_files",
    "project",
    "robust_accuracy",
    "search",
    "split_samples",
    "strongest",
    "train",
    "union_accuracy",
]
ROOT = Path(seasoning.__file__).parent


@pytest.mark.parametrize("name", STABLE)
def test_the_promised_names_are_there(name: str) -> None:
    assert name in seasoning.__all__
    value = getattr(seasoning, name)
    assert callable(value)
    assert inspect.getdoc(value)


def test_there_are_no_other_names() -> None:
    assert sorted(STABLE) == sorted(seasoning.__all__) == dir(seasoning)


def test_no_module_hides_a_public_name() -> None:
    # The package is lazy: importing a module of a public name would put the module in its place.
    modules = {path.stem for path in ROOT.iterdir()}
    assert not modules & set(seasoning.__all__)
    for name in seasoning.__all__:
        assert not inspect.ismodule(getattr(seasoning, name)), name


@pytest.mark.parametrize("name", STABLE)
def test_the_home_of_a_name_is_the_module_that_defines_it(name: str) -> None:
    home = seasoning._HOMES[name]
    # A package may have a submodule of the name, which would take its place once it is imported.
    assert (ROOT / home.replace(".", "/")).with_suffix(".py").is_file()
    assert getattr(seasoning, name).__module__ == f"seasoning.{home}"


def test_public_names_stay_after_every_module_is_imported() -> None:
    probe = """
import importlib, inspect, pkgutil, seasoning
for module in pkgutil.walk_packages(seasoning.__path__, "seasoning."):
    importlib.import_module(module.name)
assert not [name for name in seasoning.__all__ if inspect.ismodule(getattr(seasoning, name))]
"""
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_importing_a_command_imports_no_other() -> None:
    statements = ast.parse((ROOT / "commands" / "__init__.py").read_text()).body
    assert [type(statement) for statement in statements] == [ast.Expr], "only what the folder is for"


def test_types_are_told_where_names_are() -> None:
    """What a type checker reads is what is loaded at run time."""
    (block,) = [node for node in ast.parse((ROOT / "__init__.py").read_text()).body if isinstance(node, ast.If)]
    told = {
        alias.name: str(node.module).removeprefix("seasoning.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == seasoning._HOMES


def test_importing_the_package_imports_no_torch() -> None:
    probe = "import sys, seasoning; seasoning.Threat.parse('l2:1'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'soupify'"):
        _ = seasoning.soupify


def test_every_module_says_what_it_exports() -> None:
    for path in ROOT.rglob("*.py"):
        names = [
            node.targets[0].id
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        ]
        # Importing a command must not import the others.
        assert "__all__" in names or path.parts[-2:] == ("commands", "__init__.py"), path

"""The public names: importable from the package itself, stable, and cheap to import."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import seasoning


STABLE = [
    "Threat",
    "accuracy",
    "apgd",
    "build_model",
    "check_mixable",
    "evaluate",
    "load_ingredient",
    "mix",
    "mix_files",
    "project",
    "robust_accuracy",
    "strongest",
    "union_accuracy",
]


@pytest.mark.parametrize("name", STABLE)
def test_the_promised_names_are_there(name: str) -> None:
    assert name in seasoning.__all__
    value = getattr(seasoning, name)
    assert callable(value)
    assert inspect.getdoc(value)


def test_no_module_hides_a_public_name() -> None:
    # The package is lazy: importing a module of a public name would put the module in its place.
    modules = {path.stem for path in Path(seasoning.__file__).parent.iterdir()}
    assert not modules & set(seasoning.__all__)


def test_importing_the_package_imports_no_torch() -> None:
    probe = "import sys, seasoning; seasoning.Threat.parse('l2:1'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'soupify'"):
        _ = seasoning.soupify


def test_every_module_says_what_it_exports() -> None:
    for path in Path(seasoning.__file__).parent.rglob("*.py"):
        names = [
            node.targets[0].id
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        ]
        # Importing a command must not import the others.
        assert "__all__" in names or path.parts[-2:] == ("commands", "__init__.py"), path

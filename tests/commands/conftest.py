"""Ingredients of the digits in files, and a search over them that nothing interrupted."""

from pathlib import Path

import pytest

from seasoning.checkpoints.load import State, save_state
from seasoning.config.search import make_plan
from seasoning.selection.answers import SearchResult
from seasoning.soup import mix
from tests.commands.searches import content, found


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory, nominal_state: State, robust_state: State) -> dict[str, str]:
    """Files of a nominal network, of a robust one and of their middle."""
    folder = tmp_path_factory.mktemp("ingredients")
    states = {"nominal": nominal_state, "linf": robust_state, "middle": mix([nominal_state, robust_state], (0.5, 0.5))}
    for name, state in states.items():
        save_state(state, folder / f"{name}.safetensors", {})
    return {name: str(folder / f"{name}.safetensors") for name in states}


@pytest.fixture(scope="session")
def files(three: dict[str, str]) -> dict[str, str]:
    """Files of a nominal network and of a robust one."""
    return {name: three[name] for name in ("nominal", "linf")}


@pytest.fixture(scope="session")
def whole(files: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SearchResult]:
    """The folder and the result of a search that nothing interrupted."""
    folder = tmp_path_factory.mktemp("search") / "run"
    return folder, found(make_plan(content(files)), folder)

"""What several tests of searches share: plans of a few digits and small networks, and what they are measured on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seasoning.checkpoints.load import State, load_ingredient, save_state
from seasoning.checkpoints.provenance import Constants, ingredient_metadata
from seasoning.commands.data import view_of
from seasoning.commands.search import run_plan
from seasoning.commands.search_data import OpenTask, load_tasks, open_sets
from seasoning.config.search import SearchPlan
from seasoning.models import build_model
from seasoning.selection.answers import SearchResult
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE


__all__ = ["content", "found", "loaded", "measured", "saved", "tasks_of"]


def content(files: Mapping[str, str], **changes: Any) -> dict[str, Any]:
    """A quick plan over ingredients, with changes."""
    plain: dict[str, Any] = {
        "network": {"architecture": "resnet_small"},
        "ingredients": dict(files),
        "data": {"digits": "digits"},
        "shifts": ["noise"],
        "threats": ["linf:0.1"],
        "shots": 40,
        "others": 30,
        "attack": {"steps": 4, "screening_steps": 2},
        "space": {"step": 0.25},
    }
    return plain | changes


def found(plan: SearchPlan, folder: Path, said: list[str] | None = None) -> SearchResult:
    """What a search comes to."""
    return run_plan(plan, folder, say=(said if said is not None else []).append)


def tasks_of(plan: SearchPlan, folder: Path = Path()) -> dict[str, OpenTask]:
    """What a search measures its soups on."""
    sets = open_sets(plan)
    network = plan.network
    model = build_model(
        network.architecture, num_classes=len(sets.classes), **{"in_chans": sets.channels, **network.options}
    )
    return load_tasks(plan, sets, view_of(model), folder)


def saved(state: State, path: Path, constants: Constants | None = None, **told: Any) -> str:
    """The file of an ingredient whose metadata say this of its making."""
    metadata = ingredient_metadata(constants or Constants((0.5,), (0.5,)), [], "resnet_small", told)
    save_state(dict(state), path, metadata)
    return str(path)


def measured(folder: Path) -> dict[str, set[int]]:
    """The ids that a run has measured, by the names of the samples."""
    ids: dict[str, set[int]] = {}
    with Store(folder / STORE) as store:
        for asked in store.measurements():
            ids.setdefault(asked.data, set()).update(store.known_ids(asked).tolist())
    return ids


def loaded(files: Mapping[str, str]) -> list[State]:
    """The parameters of ingredients."""
    return [load_ingredient(path) for path in files.values()]

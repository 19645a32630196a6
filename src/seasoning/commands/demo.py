"""`demo`: the whole job on embedded data: four recipes, one plan, and the page of the search."""

import shutil
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from seasoning.atomic import replacing
from seasoning.checkpoints.load import load_ingredient
from seasoning.commands.search import check_plan, run_plan
from seasoning.commands.train import check_images, run_recipe
from seasoning.commands.train_recipe import check_recipe
from seasoning.config.base import read_spec, resolve
from seasoning.config.run_record import read_request, write_request
from seasoning.config.search import SearchPlan, read_plan
from seasoning.config.train import RecipeSpec, find_recipe, read_recipe_file, recipe_folder
from seasoning.errors import BadInput, RunConflict, UnknownName, differences
from seasoning.evaluation.progress import Watch, part_of
from seasoning.report import Results, Table, shifts_table, threats_table
from seasoning.selection.answers import SearchResult
from seasoning.store.database import Store
from seasoning.store.run_folder import PAGE, STORE, check_folder, claimed
from seasoning.training import Scores


__all__ = ["DemoSpec", "Finished", "demo_spec", "run_demo"]

# The ingredients in the order of the weights; the first one is trained from random parameters, the others fine-tune it.
INGREDIENTS = ("linf", "l2", "l1", "nominal")
# What the first part of a setting's key names.
_PARTS = ("recipe", "plan")
_SOUP, _INGREDIENTS, _TRAININGS = "soup.safetensors", "ingredients", "trainings"
# The part of the progress that the trainings are.
_TRAINING = 0.4
# Settings of earlier versions, and where they are now.
_MOVED = {
    "grid_parts": "plan.space.step",
    "threats": "recipe.linf.threats and plan.threats",
    "data.source": "recipe.data.source and plan.data",
    "data.train": "recipe.data.train",
    "data.validation": "recipe.data.validation",
    "data.selection": "plan.shots",
    "data.test": "plan.others",
    "data.shifts": "plan.shifts",
    "training.architecture": "recipe.network.architecture",
    "training.attack_steps": "recipe.attack.steps",
    "training.batch_size": "recipe.optimizer.batch_size",
    "training.warmup_nominal": "recipe.linf.schedule.stages",
    "training.warmup_half": "recipe.linf.schedule.stages",
    "training.base_epochs": "recipe.linf.schedule.stages",
    "training.base_rate": "recipe.linf.optimizer.rate",
    "training.finetune_epochs": "recipe.l2.schedule.epochs and recipe.l1.schedule.epochs",
    "training.finetune_rate": "recipe.l2.optimizer.rate and recipe.l1.optimizer.rate",
    "training.nominal_epochs": "recipe.nominal.schedule.epochs",
    "training.nominal_rate": "recipe.nominal.optimizer.rate",
    "evaluation.suite": "plan.attack.suite",
    "evaluation.confirm": "plan.attack.confirm",
    "evaluation.steps": "plan.attack.steps",
}


class DemoSpec(NamedTuple):
    """What a demo does: a recipe for each ingredient, and the plan of the search, without its ingredients' files."""

    recipes: dict[str, RecipeSpec]
    plan: SearchPlan

    def plain(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        recipes = {name: recipe.model_dump(mode="json") for name, recipe in self.recipes.items()}
        return {"recipe": recipes, "plan": self.plan.model_dump(mode="json", exclude={"ingredients", "folder"})}


class Finished(NamedTuple):
    """What a demo came to: its tables, the result of its search, where page and soup are."""

    tables: tuple[Table, ...]
    result: SearchResult
    page: Path
    soup: Path


def demo_spec(settings: Sequence[str] = (), *, seed: int | None = None, smoke: bool = False) -> DemoSpec:
    """The recipes and the plan of the demo, with settings applied.

    Args:
        settings: `recipe.KEY=value` for all recipes, `recipe.NAME.KEY=value` for one, `plan.KEY=value`.
        seed: Seed of all trainings and of all random starts.
        smoke: So few images, epochs and steps that it takes seconds; marked as a smoke run.

    Raises:
        UnknownName: no such setting, data set, shift, architecture or suite.
        BadInput: settings out of range, or of an earlier version; or more images than there are.
    """
    own: dict[str, list[str]] = {name: [] for name in (*INGREDIENTS, "plan")}
    for setting in settings:
        _sort_setting(setting, own)
    recipes = {}
    for name in INGREDIENTS:
        recipe = read_recipe_file(find_recipe(f"digits/{name}")[1])
        recipe = recipe.model_copy(update={} if seed is None else {"seed": seed})
        recipes[name] = resolve(own[name], _small(recipe) if smoke else recipe)
    plan = read_plan(recipe_folder() / "digits" / "plan.toml")
    plan = plan.model_copy(update={} if seed is None else {"seed": seed})
    plan = resolve(own["plan"], _small_plan(plan) if smoke else plan)
    spec = DemoSpec(recipes, plan)
    _check(spec)
    return spec


def run_demo(spec: DemoSpec | None, folder: Path, *, watch: Watch) -> Finished:
    """Train ingredients, search their soups, and write page and soup.

    What the folder holds of this run is not done again, so a run that was cut off goes on where it was.

    Args:
        spec: The run; `None` goes on with the one that lies in the folder.
        folder: Where everything is written.
        watch: Called with what is being done, the work done and the work in all.

    Raises:
        RunConflict: the folder holds another run, something else, nothing to go on with, or a run that another
            process is at.
    """
    check_folder(folder, fresh=spec is not None)
    with claimed(folder):
        spec = _own(spec, folder)
        files = _train(spec, folder, part_of(watch, 0, _TRAINING))
    plan = spec.plan.model_copy(update={"ingredients": {name: str(file) for name, file in files.items()}})
    result = run_plan(plan, folder, watch=part_of(watch, _TRAINING, 1))
    soup = folder / _SOUP
    with replacing(soup) as temporary:
        shutil.copyfile(result.answers[0].soup, temporary)
    with Store(folder / STORE) as store:
        results = Results(store)
        return Finished((threats_table(results), shifts_table(results)), result, folder / PAGE, soup)


def _own(spec: DemoSpec | None, folder: Path) -> DemoSpec:
    """The run of a folder; a folder of another run is refused."""
    with Store(folder / STORE) as store:
        there = read_request(store)
        if there is None and (spec is None or store.measurements()):
            raise RunConflict(f"{folder} holds measurements and no run to go on with: choose another --out")
        if spec is None and there is not None:
            return _restored(there, folder)
        if spec is None:
            raise RunConflict(f"{folder} holds no run to go on with: leave out --resume, or name the folder of a run")
        asked = spec.plain()
        if there is not None and there != asked:
            raise RunConflict(
                f"{folder} holds another run ({differences(there, asked)}): go on with that one by --resume alone, or "
                "choose another folder with --out"
            )
        write_request(store, asked)
        return spec


def _restored(there: Mapping[str, Any], folder: Path) -> DemoSpec:
    try:
        recipes = {name: read_spec(there["recipe"][name], RecipeSpec) for name in INGREDIENTS}
        plan = read_spec({**there["plan"], "ingredients": dict.fromkeys(INGREDIENTS, "")}, SearchPlan)
    except (KeyError, TypeError, BadInput, UnknownName) as error:
        raise RunConflict(f"{folder} holds a run of another version of seasoning: choose another --out") from error
    return DemoSpec(recipes, plan)


def _train(spec: DemoSpec, folder: Path, watch: Watch) -> dict[str, Path]:
    """The file of every ingredient, trained where it is not there; the others fine-tune the best of the first one."""
    work = {name: recipe.schedule.epochs for name, recipe in spec.recipes.items()}
    files = dict[str, Path]()
    done, total = 0, sum(work.values())
    for name, recipe in spec.recipes.items():
        file = folder / _INGREDIENTS / f"{name}.safetensors"
        if file.exists():
            load_ingredient(file)  # a damaged file is reported before any work
        else:
            watch(f"training {name}", done, total)
            training = folder / _TRAININGS / name
            best = run_recipe(
                f"digits/{name}",
                recipe,
                training,
                init=next(iter(files.values()), None),
                resume=True,
                # On the processor alone, so that every machine gives the same numbers.
                device="cpu",
                trackers=(),
                on_epoch=partial(_advance, watch, f"training {name}", done, total),
            )
            with replacing(file) as temporary:
                shutil.copyfile(best, temporary)
            shutil.rmtree(training)
        done += work[name]
        files[name] = file
    if (folder / _TRAININGS).is_dir():
        shutil.rmtree(folder / _TRAININGS)
    return files


def _advance(watch: Watch, doing: str, before: int, total: int, epoch: int, scores: Scores) -> None:
    watch(doing, before + epoch + 1, total)


def _sort_setting(setting: str, own: dict[str, list[str]]) -> None:
    """Add a setting to the specs that it is for."""
    key = setting.partition("=")[0]
    if key in _MOVED or key == "seed":
        now = "--seed" if key == "seed" else _MOVED[key]
        raise BadInput(f"setting {key!r} of the demo is now {now}: the demo is four recipes and a plan")
    head, dot, rest = setting.partition(".")
    if head == "plan" and dot:
        own["plan"].append(rest)
        return
    if dot and head not in _PARTS and get_close_matches(head, _PARTS, cutoff=0.7):
        raise UnknownName("part of the demo", head, _PARTS)
    if head != "recipe" or not dot:
        known = [f"recipe.{name}" for name in ("optimizer.rate", "attack.steps", *INGREDIENTS)] + ["plan.shots"]
        raise UnknownName("setting", key, [*known, *_MOVED])
    name, dot, below = rest.partition(".")
    for ingredient in [name] if name in INGREDIENTS and dot else INGREDIENTS:
        own[ingredient].append(below if name in INGREDIENTS and dot else rest)


def _small(recipe: RecipeSpec) -> RecipeSpec:
    """The same recipe with so few images, epochs and steps that it takes seconds."""
    stages = tuple(stage.model_copy(update={"epochs": 1}) for stage in recipe.schedule.stages)
    attack = recipe.attack and recipe.attack.model_copy(update={"steps": 2})
    changes = {
        "smoke": True,
        "data": recipe.data.model_copy(update={"train": 120, "validation": 40}),
        "attack": attack,
        "schedule": recipe.schedule.model_copy(update={"epochs": len(stages) or 1, "stages": stages}),
    }
    return recipe.model_copy(update=changes)


def _small_plan(plan: SearchPlan) -> SearchPlan:
    """The same plan with so few images, soups and steps that it takes seconds."""
    changes = {
        "smoke": True,
        "shots": 40,
        "others": 50,
        "space": plan.space.model_copy(update={"step": 0.5}),
        "attack": plan.attack.model_copy(update={"steps": 4}),
    }
    return plan.model_copy(update=changes)


def _check(spec: DemoSpec) -> None:
    """Refuse names that are in no table, and too many images, before any work."""
    check_plan(spec.plan)
    for recipe in spec.recipes.values():
        check_recipe(recipe)
        check_images(recipe)

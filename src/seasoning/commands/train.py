"""`train`: an ingredient by a recipe, from random parameters or from a checkpoint."""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch

from seasoning.atomic import replacing
from seasoning.checkpoints.class_names import carried_names
from seasoning.checkpoints.constants import Constants, settled
from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.images import images_metadata
from seasoning.checkpoints.load import State, load_ingredient, save_state
from seasoning.checkpoints.provenance import constants_of, ingredient_metadata, ingredient_name
from seasoning.commands.data import build_for, seen_by, training_images
from seasoning.commands.overlap import trained_on
from seasoning.config.train import MADE, RecipeSpec, asked_recipe
from seasoning.data import SOURCES, Samples, load_source, split_samples
from seasoning.data.sources import Used, source_parts, usual_parts
from seasoning.errors import BadInput, RunConflict, UnknownName, nearest
from seasoning.models import PixelClassifier
from seasoning.models.from_file import is_file_name
from seasoning.store.run_folder import claimed, entries
from seasoning.threat import Threat
from seasoning.training import (
    Outer,
    Scores,
    Settings,
    TrainingAttack,
    TrainingObjective,
    TrainingProgress,
    make_objective,
    require_images,
    validator,
)
from seasoning.training.loop import train as train_network


__all__ = ["BEST", "LAST", "STATE", "check_images", "check_recipe", "run_recipe", "settings_from", "train"]

BEST, LAST, STATE = "best.safetensors", "last.safetensors", "state.pt"
_RECIPE, _LOGS = "recipe.json", "logs"
_SMOKE_IMAGES = 64
_log = logging.getLogger(__name__)
# Scores before and after a change of these would not compare, nor would the best checkpoint be what its file says.
_FIXED = ("settings.threats", "settings.attack.steps", "settings.seed", "settings.network", "images.validation")


def train(
    recipe: str,
    *,
    data: str | None = None,
    init: str | Path | None = None,
    out: str | Path | None = None,
    settings: Sequence[str] = (),
    smoke: bool = False,
    resume: bool = False,
    device: str | None = None,
) -> Path:
    """Train an ingredient by a recipe, as `seasoning train` does.

    Args:
        recipe: Name of a recipe, such as `"linf-scratch"`, or a TOML file.
        data: Training images instead of the recipe's: a folder, or a known data set.
        init: The checkpoint to fine-tune, for recipes that fine-tune one.
        out: Folder of the training; by default `runs/train/RECIPE`.
        settings: Changes of the recipe as `key=value`, such as `"schedule.epochs=1"`.
        smoke: Try the recipe in seconds, on made images; the numbers mean nothing.
        resume: Go on with the training in the folder; where there is none, start it.
        device: `"cpu"`; by default a GPU where there is one.

    Returns:
        The file of the checkpoint that validates best.

    Raises:
        As `run_recipe`.
    """
    name, spec = asked_recipe(recipe, data, settings, smoke=smoke)
    folder = Path("runs/train") / (f"{name}-smoke" if smoke else name) if out is None else Path(out)
    start = None if init is None else Path(init)
    return run_recipe(name, spec, folder, init=start, resume=resume, device=device, trackers=())


def run_recipe(
    name: str,
    spec: RecipeSpec,
    folder: Path,
    *,
    init: Path | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    device: str | None = None,
    trackers: Sequence[str] = ("tensorboard",),
    save_seconds: float = 300.0,
    stop: Callable[[], bool] = lambda: False,
    on_step: Callable[[TrainingProgress], None] = lambda report: None,
    on_epoch: Callable[[int, Scores], None] = lambda epoch, scores: None,
) -> Path:
    """Train an ingredient by a recipe.

    The folder gets `best.safetensors`, the checkpoint of the highest robustness on the validation images, as soon as
    there is one; `last.safetensors` at the end; `state.pt`, from which training goes on; `recipe.json` and `logs`.

    Args:
        name: Of the recipe, for the ingredient's metadata.
        spec: The recipe.
        folder: Where everything is written.
        init: The checkpoint to fine-tune; recipes with `starts` want one, others take none. Normalization constants
            that it carries stay with it.
        resume: Go on with the training in the folder; where there is none, start it.
        accept_changes: Go on even if recipe, images or start are not those that it began with; what its scores rest on
            (threats, steps of the attack, seed, network, validation images) must be the same all the same.
        device: `"cpu"` stays there; by default a GPU where there is one.
        trackers: Names of accelerate's experiment trackers.
        save_seconds: The state is written after each epoch, and within one when so long has passed.
        stop: Asked after each step; when it says so, the state is written and training ends.
        on_step: Called with the progress of the training.
        on_epoch: Called with each epoch (from 0) and its scores, those before a resume included.

    Returns:
        The file of the best checkpoint.

    Raises:
        BadInput, UnknownName: what the recipe asks for cannot be; nothing is written.
        RunConflict: the folder holds something else, or a training or what one made, and `resume` was not said.
        Stopped: it was asked to stop.
        SeasoningError: the loss became NaN; the last saved state is kept.
    """
    objectives, settings = check_recipe(spec)
    _check_start(name, spec, init)
    known_trackers(trackers)
    model, parts, start = _prepared(spec, settings, init)
    identity = _identity(spec, parts, start, model.code)
    _check_folder(folder, resume)
    images = images_metadata(trained_on(parts, _named(spec.data.source), identity["images"], init))
    parts = {part: seen_by(model, each) for part, each in parts.items()}
    scores: list[Scores] = []
    with claimed(folder):

        def noted(epoch: int, found: Scores) -> None:
            scores.append(found)
            on_epoch(epoch, found)

        def keep(state: State, epoch: int, file: str = BEST) -> None:
            notes = _notes(spec, parts, scores) | {"name": name, "epoch": epoch + 1, "init": start}
            metadata = ingredient_metadata(model.constants, _threats(spec), spec.network.architecture, notes)
            save_state(state, folder / file, metadata | images)

        trained = train_network(
            model,
            parts["train"],
            objectives,
            validator(parts["validation"], _threats(spec), spec.attack.steps if spec.attack else 0, spec.seed),
            settings,
            seed=spec.seed,
            resume=folder / STATE,
            identity=identity,
            accept_changes=accept_changes,
            fixed=_FIXED,
            save_seconds=save_seconds,
            stop=stop,
            on_start=partial(_write_json, folder / _RECIPE, {"recipe": name, "start": init and str(init), **identity}),
            on_step=on_step,
            on_epoch=noted,
            on_best=keep,
            device=device,
            trackers=trackers,
            logs=folder / _LOGS,
        )
        keep(trained.state, trained.epoch)
        keep(trained.last, spec.schedule.epochs - 1, LAST)
    return folder / BEST


def check_recipe(spec: RecipeSpec) -> tuple[list[TrainingObjective], Settings]:
    """The training objective of every epoch, and the settings of a recipe, if both are possible.

    Raises:
        UnknownName: there is no such objective or architecture.
        BadInput: a threat without an attack, an attack without a threat, milestones that the epochs do not reach, or
            impossible settings.
    """
    if not is_file_name(spec.network.architecture) and not timm.is_model(spec.network.architecture):
        raise UnknownName("architecture", spec.network.architecture, timm.list_models())
    late = [str(milestone) for milestone in spec.schedule.milestones if milestone >= spec.schedule.epochs]
    if late and not spec.smoke:
        raise BadInput(
            f"schedule.milestones {', '.join(late)} with schedule.epochs={spec.schedule.epochs}: the learning rate "
            "would never fall there; set milestones below the epochs"
        )
    attack = None if spec.attack is None else TrainingAttack(**spec.attack.model_dump())
    outer = Outer(spec.objective.loss, spec.objective.beta)
    # The recipe's own objective, even where its stages are others: it is what the ingredient is named by.
    make_objective(spec.objective.name, [Threat.parse(text) for text in spec.threats], attack, outer)
    objectives: list[TrainingObjective] = []
    for stage in spec.stages:
        nominal = stage.objective == "nominal"
        threats = [Threat.parse(text) for text in spec.threats if not nominal]
        shrunk = [Threat(threat.norm, stage.radius * threat.eps) for threat in threats]
        objectives += [make_objective(stage.objective, shrunk, None if nominal else attack, outer)] * stage.epochs
    return objectives, settings_from(spec)


def _gradients(spec: RecipeSpec, images: int) -> int:
    """Passes of single images with a gradient that the training takes, to the image or to the parameters."""
    steps = 0 if spec.attack is None else spec.attack.steps
    count = len(spec.threats)
    passes = {"nominal": 1, "max": 1 + steps * count, "avg": (1 + steps) * count, "msd": 1 + steps * count}
    return images * sum(stage.epochs * passes.get(stage.objective, 1 + steps) for stage in spec.stages)


def check_images(spec: RecipeSpec) -> None:
    """Refuse images that a recipe cannot train on, before any work.

    Raises:
        BadInput: there are too few, or the network does not take them.
    """
    model, parts, _ = _prepared(spec, settings_from(spec), None)
    seen_by(model, parts["train"])


def settings_from(spec: RecipeSpec) -> Settings:
    """How a recipe trains, apart from what it lowers."""
    schedule = spec.schedule.model_dump(exclude={"epochs", "kind", "stages"})
    given = spec.optimizer.model_dump() | schedule | spec.data.model_dump(include={"crop", "flips"})
    return Settings(**given, schedule=spec.schedule.kind)


def known_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that accelerate does not know, or that are not installed.

    Raises:
        UnknownName, BadInput: saying which.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = [str(getattr(each, "value", each)) for each in LOGGER_TYPE_TO_CLASS]
    installed = [str(getattr(each, "value", each)) for each in get_available_trackers()]
    for name in names:
        if name not in known:
            raise UnknownName("tracker", name, known)
        if name not in installed:
            raise BadInput(f"tracker {name!r} is not installed here: pip install {name}, or choose another")


def _check_start(name: str, spec: RecipeSpec, init: Path | None) -> None:
    if spec.starts and init is None and not spec.smoke:
        raise BadInput(
            f"recipe {name} fine-tunes what {' or '.join(spec.starts)} makes: give the checkpoint with --init, such as "
            f"--init runs/train/{spec.starts[0]}/{BEST}"
        )
    if init is not None and not spec.starts:
        raise BadInput(f"recipe {name} starts from random parameters: leave out --init, or choose one that fine-tunes")
    made_by = None if init is None else ingredient_name(init)
    if made_by is not None and made_by.rpartition("/")[2] not in [each.rpartition("/")[2] for each in spec.starts]:
        _log.warning("%s was made by %s; recipe %s fine-tunes %s", init, made_by, name, " or ".join(spec.starts))


def _threats(spec: RecipeSpec) -> list[Threat]:
    return [Threat.parse(text) for text in spec.threats]


def _notes(spec: RecipeSpec, parts: Mapping[str, Samples], scores: Sequence[Scores]) -> dict[str, Any]:
    """What the metadata of an ingredient say of its training, as far as the recipe and the images tell."""
    images, names = {part: len(samples) for part, samples in parts.items()}, parts["train"].class_names
    return {
        "epochs": spec.schedule.epochs,
        "smoke": spec.smoke,
        "scores": [tuple(each) for each in scores],
        "gradients": _gradients(spec, images["train"]),
        "options": spec.network.options,
        "seed": spec.seed,
        **({"images": {"source": spec.data.source, **images}} if spec.data.source in SOURCES else {}),
        **({"classes": list(names)} if names else {}),
    }


def _images(spec: RecipeSpec, together: int, carried: Sequence[str] | None) -> dict[str, Samples]:
    """Training and validation images, disjoint and the same on every machine.

    What fits into the memory in training does in validation, which takes them so many together.
    """
    data = spec.data
    if data.source == MADE:
        samples = _made(data.classes, data.shape)
    elif data.source not in SOURCES and not Path(data.source).exists():
        near = nearest(data.source, SOURCES)
        hint = f"did you mean {near!r}? Else " if near else ""
        raise BadInput(
            f"no training images at {data.source!r}: {hint}name a folder that has a folder of images for each class, "
            f"or CIFAR in any of its forms, with --data, or a known data set ({', '.join(SOURCES)})"
        )
    else:
        samples = training_images(data.source, carried)
    shape = tuple(samples.x.shape[1:])
    if (samples.classes, shape) != (data.classes, data.shape):
        given, wanted = (
            f"{classes} classes of images of {' x '.join(map(str, size))}"
            for classes, size in ((samples.classes, shape), (data.classes, data.shape))
        )
        raise BadInput(
            f"{data.source} has {given}, the recipe wants {wanted}: name another folder with --data, or set "
            "data.classes and data.shape"
        )
    if data.source in SOURCES:
        used = Used(data.train or usual_parts(data.source).train, data.validation)
        there = len(load_source(data.source))
        if sum(used) > there:
            raise BadInput(
                f"{data.source}: data.train={used.train} and data.validation={used.validation} ask for more than its "
                f"{there} samples: set them lower"
            )
        known = source_parts(data.source, used)
        return {part: replace(known[part], batch_size=together) for part in ("validation", "train")}
    if data.validation >= len(samples):
        raise BadInput(
            f"{data.source} has {len(samples)} images, data.validation={data.validation} of them would leave none to "
            "train on: set it lower"
        )
    # By the ids alone: a base and its fine-tune name the same images in different ways.
    nameless = replace(samples, name="images", batch_size=together)
    return split_samples(nameless, {"validation": data.validation, "train": len(samples) - data.validation})


def _named(source: str) -> str:
    """What images are called in a file that others get: by no folders of this machine."""
    return source if source in SOURCES or source == MADE else Path(source).resolve().name


def _made(classes: int, shape: tuple[int, int, int]) -> Samples:
    """Images for smoke runs: one pattern for each class, under noise."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.rand(classes, *shape, generator=generator)
    y = torch.arange(_SMOKE_IMAGES) % classes
    x = (patterns[y] + 0.3 * torch.randn(len(y), *shape, generator=generator)).clamp(0, 1)
    return Samples("made", torch.arange(len(y)), x, y, classes)


def _prepared(
    spec: RecipeSpec, settings: Settings, init: Path | None
) -> tuple[PixelClassifier, dict[str, Samples], str | None]:
    """The network at its start, the images as they are, and the fingerprint of the checkpoint it starts from."""
    # A start knows its classes by its own order.
    named = None if init is None else carried_names(init)
    parts = _images(spec, math.ceil(settings.batch_size / settings.accumulate), named)
    require_images(settings, len(parts["train"]))
    model, start = _network(spec, parts["train"], init)
    return model, parts, start


def _network(spec: RecipeSpec, samples: Samples, init: Path | None) -> tuple[PixelClassifier, str | None]:
    """The network at its start, and the fingerprint of the checkpoint it starts from."""
    network = spec.network
    state, said = (None, None) if init is None else (load_ingredient(init), constants_of([init]))
    given = None if network.mean is None or network.std is None else Constants(network.mean, network.std)
    # Initialization draws from torch's global generator: fork it, so that nothing outside notices.
    with torch.random.fork_rng():
        torch.manual_seed(spec.seed)
        model = build_for(
            network.architecture,
            network.options,
            outputs=samples.classes,
            channels=samples.x.shape[1],
            state=state,
            constants=settled(said, given, str(init)),
        )
    return model, None if state is None else fingerprint(state)


def _identity(spec: RecipeSpec, parts: dict[str, Samples], start: str | None, code: str) -> dict[str, Any]:
    """What a state belongs to, with the code of a network from somebody's file; a folder of images may move."""
    settings = spec.model_dump(mode="json")
    settings["data"].pop("source")
    images = {name: samples.fingerprint() for name, samples in parts.items()}
    return {"settings": settings, "images": images, "init": start, **({"code": code} if code else {})}


def _check_folder(folder: Path, resume: bool) -> None:
    here = entries(folder, (BEST, LAST, STATE, _RECIPE, _LOGS), "of no training")
    if STATE in here and not resume:
        raise RunConflict(f"{folder} holds a training: go on with it by --resume, or choose another folder with --out")
    made = [name for name in (BEST, LAST) if name in here]
    if made and not resume:
        raise RunConflict(
            f"{folder} holds {made[0]!r} of a training whose state is gone: choose another folder with --out, or train "
            "anew over it by --resume"
        )


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

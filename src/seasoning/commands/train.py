"""`train`: an ingredient by a recipe, from random parameters or from a checkpoint."""

import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from seasoning.atomic import replacing
from seasoning.checkpoints.branches import holds_branches
from seasoning.checkpoints.class_names import carried_names
from seasoning.checkpoints.constants import Constants, settled
from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.images import images_metadata
from seasoning.checkpoints.load import State, load_ingredient, save_state
from seasoning.checkpoints.provenance import constants_of, ingredient_metadata, ingredient_name
from seasoning.commands.data import build_for
from seasoning.commands.overlap import trained_on
from seasoning.commands.train_images import Parts, image_hashes, source_name, training_parts
from seasoning.commands.train_recipe import check_recipe, gradients, has_branches, robust_to, validator_of
from seasoning.config.train import RecipeSpec, asked_recipe
from seasoning.data import SOURCES, Samples
from seasoning.errors import BadInput, RunConflict, UnknownName
from seasoning.models import PixelClassifier, split_norms
from seasoning.store.run_folder import claimed, entries
from seasoning.training import Scores, TrainingProgress, require_images, require_parts
from seasoning.training.accelerator import processes
from seasoning.training.loop import train as train_network


__all__ = ["BEST", "LAST", "STATE", "check_images", "run_recipe", "train"]

BEST, LAST, STATE = "best.safetensors", "last.safetensors", "state.pt"
# Beside an ingredient of raw parameters their average, beside one of averages the raw ones; both of the last epoch.
_OTHERS = {"raw": ("last-ema.safetensors", "ema"), "ema": ("last-raw.safetensors", "raw")}
_ENDS = (LAST, *(file for file, _ in _OTHERS.values()))
_RECIPE, _LOGS = "recipe.json", "logs"
_log = logging.getLogger(__name__)
# Scores before and after a change of these would not compare, nor would the best checkpoint be what its file says.
_FIXED = (
    *("settings.threats", "settings.attack.steps", "settings.attack.steps_by_norm", "settings.seed"),
    *("settings.network", "settings.optimizer.ingredient", "images.validation"),
)
# An average has left its start behind after so many times 1 / (1 - decay) steps: exp(-3), 5 %, are left.
_TIMES = 3


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
    """Train an ingredient by a recipe, in one process or in those that were started together.

    The folder gets `best.safetensors`, the checkpoint of the highest robustness on the validation images, as soon as
    there is one; `last.safetensors` at the end, and where parameters are averaged `last-ema.safetensors` or
    `last-raw.safetensors`, whichever the ingredient is not; `state.pt`, from which training goes on; `recipe.json` and
    `logs`.

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
        SeasoningError: the loss became NaN, or another process of the training ended; the last saved state is kept.
    """
    first = processes(device).rank == 0
    spec, parts = _prepared(name, spec, init, trackers, processes(device).number)
    objectives, settings = check_recipe(spec)
    model, start = _network(spec, parts.validation, init)
    seen = parts.seen_by(model)
    identity = _identity(spec, parts, start, model.code)
    about = {"recipe": name, "start": init and str(init), **identity}
    scores: list[Scores] = []
    with _owned(folder, resume, first):
        images = _images_told(spec, parts, identity["images"], init, folder) if first else None

        def noted(epoch: int, found: Scores) -> None:
            scores.append(found)
            on_epoch(epoch, found)

        def keep(state: State, epoch: int, file: str = BEST, parameters: str = settings.ingredient) -> None:
            notes = _notes(spec, parts, scores) | {"name": name, "epoch": epoch + 1, "init": start}
            _write(state, folder / file, spec, model, notes, parameters, images)

        trained = train_network(
            model,
            seen.train,
            objectives,
            validator_of(spec, seen.validation),
            settings,
            seed=spec.seed,
            resume=folder / STATE,
            identity=identity,
            accept_changes=accept_changes,
            fixed=_FIXED,
            save_seconds=save_seconds,
            stop=stop,
            on_start=partial(_write_json, folder / _RECIPE, about) if first else lambda: None,
            on_step=on_step,
            on_epoch=noted,
            on_best=keep,
            device=device,
            trackers=trackers,
            logs=folder / _LOGS,
        )
        keep(trained.state, trained.epoch)
        keep(trained.last, spec.schedule.epochs - 1, LAST)
        if trained.other is not None:
            keep(trained.other, spec.schedule.epochs - 1, *_OTHERS[settings.ingredient])
    return folder / BEST


def _prepared(
    name: str, spec: RecipeSpec, init: Path | None, trackers: Sequence[str], number: int
) -> tuple[RecipeSpec, Parts]:
    """A recipe that so many processes can train, its ingredient named, and its images; mistakes are told in order."""
    _, settings = check_recipe(spec)
    _check_start(name, spec, init)
    known_trackers(trackers)
    require_parts(settings, number)
    # A start knows its classes by its own order.
    named = None if init is None else carried_names(init)
    parts = training_parts(spec, math.ceil(settings.batch_size / settings.accumulate / number), named)
    require_images(settings, len(parts.train))
    return _with_ingredient(spec, len(parts.train)), parts


def check_images(spec: RecipeSpec) -> None:
    """Refuse images that a recipe cannot train on, before any work.

    Raises:
        BadInput: there are too few, or the network does not take them.
    """
    parts = training_parts(spec, 1, None)
    model, _ = _network(spec, parts.validation, None)
    parts.seen_by(model)


def known_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that accelerate does not know, or that are not installed.

    Raises:
        UnknownName, BadInput: saying which.
    """
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = [str(getattr(logger, "value", logger)) for logger in LOGGER_TYPE_TO_CLASS]
    installed = [str(getattr(tracker, "value", tracker)) for tracker in get_available_trackers()]
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
    if made_by is not None and made_by.rpartition("/")[2] not in [start.rpartition("/")[2] for start in spec.starts]:
        _log.warning("%s was made by %s; recipe %s fine-tunes %s", init, made_by, name, " or ".join(spec.starts))


def _with_ingredient(spec: RecipeSpec, images: int) -> RecipeSpec:
    """The recipe with the parameters named that it validates and writes."""
    optimizer = spec.optimizer
    steps = spec.schedule.epochs * math.ceil(images / optimizer.batch_size)
    long = optimizer.ema is not None and steps * (1 - optimizer.ema) >= _TIMES
    named = optimizer.ingredient or ("ema" if long else "raw")
    if optimizer.ema is not None and named == "ema" and not long and not spec.smoke:
        _log.warning(
            "after %d steps the average of optimizer.ema=%s is still %.0f %% of its start: set "
            "optimizer.ingredient=raw, or a smaller ema",
            *(steps, optimizer.ema, 100 * optimizer.ema**steps),
        )
    return spec.model_copy(update={"optimizer": optimizer.model_copy(update={"ingredient": named})})


def _notes(spec: RecipeSpec, parts: Parts, scores: Sequence[Scores]) -> dict[str, Any]:
    """What the metadata of an ingredient say of its training, as far as the recipe and the images tell."""
    images, names = {part: len(samples) for part, samples in parts._asdict().items()}, parts.validation.class_names
    return {
        "epochs": spec.schedule.epochs,
        "smoke": spec.smoke,
        "scores": [tuple(score) for score in scores],
        "gradients": gradients(spec, images["train"]),
        "options": spec.network.options,
        "seed": spec.seed,
        **({"images": {"source": spec.data.source, **images}} if spec.data.source in SOURCES else {}),
        **({"classes": list(names)} if names else {}),
    }


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
        if has_branches(spec):
            split_norms(model.network)
            if state is not None and holds_branches(state):
                model.load(state)
    return model, None if state is None else fingerprint(state)


def _write(
    state: State,
    path: Path,
    spec: RecipeSpec,
    model: PixelClassifier,
    notes: dict[str, Any],
    parameters: str,
    images: dict[str, str] | None,
) -> None:
    """Write an ingredient, with what is known of its making; without images, another process writes it."""
    if images is None:
        return
    averaged = {} if spec.optimizer.ema is None else {"ema": spec.optimizer.ema, "parameters": parameters}
    about = ingredient_metadata(model.constants, robust_to(spec), spec.network.architecture, notes | averaged)
    save_state(state, path, about | images)


def _images_told(
    spec: RecipeSpec, parts: Parts, marks: dict[str, str], init: Path | None, folder: Path
) -> dict[str, str]:
    """What an ingredient's file says of the images that it was trained on."""
    # The best checkpoint so far of a training that goes on.
    saved = folder / BEST if (folder / STATE).exists() and (folder / BEST).exists() else None
    hashes = partial(image_hashes, spec, parts)
    return images_metadata(trained_on(hashes, source_name(spec.data), marks, init, saved))


def _identity(spec: RecipeSpec, parts: Parts, start: str | None, code: str) -> dict[str, Any]:
    """What a state belongs to, with the code of a network from somebody's file.

    A folder of images may move, and be read by as many processes as there are.
    """
    settings = spec.model_dump(mode="json")
    for name in ("source", "workers"):
        settings["data"].pop(name)
    images = {name: samples.fingerprint() for name, samples in parts._asdict().items()}
    return {"settings": settings, "images": images, "init": start, **({"code": code} if code else {})}


@contextmanager
def _owned(folder: Path, resume: bool, first: bool) -> Iterator[None]:
    """Keep other trainings out of a folder; of several processes the first one owns it, and alone writes."""
    if not first:
        yield
        return
    _check_folder(folder, resume)
    with claimed(folder):
        yield


def _check_folder(folder: Path, resume: bool) -> None:
    here = entries(folder, (BEST, *_ENDS, STATE, _RECIPE, _LOGS), "of no training")
    if STATE in here and not resume:
        raise RunConflict(f"{folder} holds a training: go on with it by --resume, or choose another folder with --out")
    made = [name for name in (BEST, *_ENDS) if name in here]
    if made and not resume:
        raise RunConflict(
            f"{folder} holds {made[0]!r} of a training whose state is gone: choose another folder with --out, or train "
            "anew over it by --resume"
        )


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

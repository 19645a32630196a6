"""The verb for one checkpoint alone: measure it clean and under threats, and say what that cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from seasoning import metrics
from seasoning.attacks import Attack, suite_attack
from seasoning.checkpoint import fingerprint, load_ingredient
from seasoning.config import RunSpec
from seasoning.data import SOURCES, SPLITS, Samples, load_source, split_samples
from seasoning.errors import BadInput, Mismatch, RunConflict, UnknownName
from seasoning.measuring import Meter, measure, measurement
from seasoning.metrics import Estimate
from seasoning.models import Classifier, build_model
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.report import CLEAN
from seasoning.run_folder import STORE, check_folder, claimed
from seasoning.soup.recipe import alike, constants_of
from seasoning.store import Store
from seasoning.threat import Threat


__all__ = ["Cost", "Measured", "evaluate_checkpoint"]


class Cost(NamedTuple):
    """What a measurement took: gradients and forward passes of single images, and seconds."""

    gradients: int
    forwards: int
    seconds: float


class Measured(NamedTuple):
    """One line of the answer; the cost of what is only computed from other lines is `None`."""

    estimate: Estimate
    cost: Cost | None


def evaluate_checkpoint(
    source: str | Path,
    *,
    architecture: str,
    data: str,
    split: str | None,
    threats: Sequence[Threat],
    suite: str,
    folder: Path,
    watch: Callable[[str, float, float], None],
    options: Mapping[str, Any] | None = None,
    loss: str | None = None,
    steps: int | None = None,
    precision: str = "full",
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    batch_size: int | None = None,
    device: str | None = None,
    channels_last: bool = False,
    seed: int = 0,
) -> dict[str, Measured]:
    """Clean, per-threat and union accuracy of one checkpoint on a data set, with their cost.

    Outcomes are kept in the folder, so a measurement that was cut off goes on where it was.

    Args:
        source: What `load_ingredient` reads.
        architecture: What `build_model` takes: a name of timm's or ours, or `path/to/file.py:function`.
        data: A known data set, or a folder with a folder of images for each class.
        split: Part of a known data set, by default `"test"`; a folder is measured whole.
        threats: What to attack with, one measurement each.
        suite: Named attack protocol.
        folder: Where outcomes are kept.
        watch: Told what is being done, the work done and the work in all.
        options: Further arguments of the architecture, such as `{"activation": "silu"}`.
        loss: Loss of the protocol's AutoPGD attacks instead of its own, for models of too few classes.
        steps: Steps of every attack instead of the protocol's own.
        precision: `"bf16"` lets passes in bfloat16 go ahead of the protocol.
        normalization: Means and standard deviations of the channels, where the checkpoint does not say them itself,
            instead of the architecture's own.
        batch_size: Most images in the model at a time.
        device: Where to compute, by default `"cuda"` where there is one, else `"cpu"`.
        channels_last: Whether to lay tensors out with the channels last, which some processors are faster with.
        seed: Seed of the random starts.

    Returns:
        Lines by name: `"clean"`, every threat, and with several of them `"union"`.

    Raises:
        UnknownName: no such data set, split, architecture, protocol, loss or precision.
        BadInput: a split of a folder, or a device that this machine lacks.
        Mismatch: the checkpoint does not fit the architecture, or was trained with another normalization.
        RunConflict: the folder is that of a run, or of something else.
    """
    attacks = {
        threat: suite_attack(suite, threat.norm, loss=loss, steps=steps, precision=precision) for threat in threats
    }
    samples = _samples(data, split, batch_size)
    mean, std = _constants(source, normalization)
    model = build_model(
        architecture,
        num_classes=samples.classes,
        in_chans=samples.x.shape[1],
        state=load_ingredient(source),
        mean=mean,
        std=std,
        **(options or {}),
    )
    key = ModelKey.of([_identity(model, architecture, options)], [1.0])
    model.to(_device(device))
    if channels_last:
        model.to(memory_format=torch.channels_last)
    meter = Meter(watch, 1 + len(attacks))
    check_folder(folder, fresh=True)
    with claimed(folder), Store(folder / STORE) as store:
        if store.note("spec") is not None:
            raise RunConflict(f"{folder} holds a run, whose numbers others would blur: choose another --out")

        ask = partial(_measured, store, meter, key, model, samples, seed)
        outcomes, cost = ask(None, None)
        lines = {CLEAN: Measured(metrics.accuracy(outcomes), cost)}
        attacked = []
        for threat, attack in attacks.items():
            outcomes, cost = ask(threat, attack)
            attacked.append(outcomes)
            lines[str(threat)] = Measured(metrics.robust_accuracy(outcomes), cost)
    if len(attacked) > 1:
        lines["union"] = Measured(metrics.union_accuracy(*attacked), None)
    return lines


def _constants(
    source: str | Path, given: tuple[tuple[float, ...], tuple[float, ...]] | None
) -> tuple[tuple[float, ...], tuple[float, ...]] | tuple[None, None]:
    """By what images are normalized: what the caller says, else what the checkpoint's file says of itself."""
    told = constants_of([source])
    if told is None:
        return given or (None, None)
    if given is not None and not all(map(alike, told, given)):
        raise Mismatch(
            f"{source} was trained with normalization mean {list(told.mean)} and std {list(told.std)}: "
            "leave --mean and --std out"
        )
    return told


def _measured(
    store: Store,
    meter: Meter,
    key: ModelKey,
    model: Classifier,
    samples: Samples,
    seed: int,
    threat: Threat | None,
    attack: Attack | None,
) -> tuple[Outcomes, Cost]:
    """One measurement, one unit of the meter's work, and what it cost whenever it was made."""
    doing, before = f"measuring {threat or CLEAN}", meter.done
    meter.advance(doing, 0)
    outcomes = measure(
        store,
        key,
        lambda: model,
        samples,
        threat=threat,
        attack=attack,
        seed=seed,
        smoke=False,
        on_block=lambda share: meter.advance(doing, before + share - meter.done),
    )
    meter.advance(doing, before + 1 - meter.done)
    asked = measurement(key, samples, threat=threat, attack=attack, seed=seed, smoke=False)
    headers = [header for mark, header in store.headers() if mark == asked.key]
    gradients, forwards, seconds = (
        sum(header[name] for header in headers) for name in ("gradients", "forwards", "seconds")
    )
    return outcomes, Cost(gradients, forwards, seconds)


def _samples(data: str, split: str | None, batch_size: int | None) -> Samples:
    if split is not None and split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    if batch_size is not None and batch_size < 1:
        raise BadInput(f"a batch size of {batch_size}: expected at least 1")
    samples = load_source(data)
    if data in SOURCES:
        samples = split_samples(samples, RunSpec().data.sizes())[split or "test"]
    elif split is not None:
        raise BadInput(f"--split {split} of the folder {data}: a folder is measured whole, leave the option out")
    return samples if batch_size is None else replace(samples, batch_size=batch_size)


def _device(name: str | None) -> torch.device:
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise BadInput(f"device {name!r} cannot be used here ({error}): leave the option out") from error


def _identity(model: Classifier, architecture: str, options: Mapping[str, Any] | None) -> str:
    """What tells this model from others: its parameters, its normalization, and what they are put into."""
    file = Path(architecture.rpartition(":")[0])
    code = file.read_bytes() if file.is_file() else b""
    built = f"{architecture} {sorted((options or {}).items())}".encode()
    facts = {"mean": model.mean, "std": model.std, "architecture": _bytes(built), "code": _bytes(code)}
    # A mark before each name keeps the facts apart from the network's own tensors.
    return fingerprint({**model.network.state_dict(), **{f" {name}": fact for name, fact in facts.items()}})


def _bytes(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)

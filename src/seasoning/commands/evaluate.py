"""`evaluate`: one checkpoint, clean and under threats, on one data set or several."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from seasoning import metrics, statistics
from seasoning.attacks import Attack, suite_attack
from seasoning.attacks.checks import check_threat
from seasoning.checkpoints.class_names import carried_names
from seasoning.checkpoints.constants import Constants, settled
from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.images import UsedImages
from seasoning.checkpoints.load import is_there, load_ingredient, parted
from seasoning.checkpoints.provenance import constants_of, images_used
from seasoning.commands.data import build_for, seen_by, speaks_of, view_of
from seasoning.commands.overlap import known_images, overlaps, require_some, used_ids
from seasoning.config.evaluate import EvaluateSpec
from seasoning.config.run_record import read_record
from seasoning.config.sections import NetworkSection
from seasoning.data import Samples
from seasoning.data.corrupted_sets import ALEXNET_ERRORS
from seasoning.data.decoding import Photo
from seasoning.data.open import Opened, ReadOptions, open_data
from seasoning.data.pixels import pixel_hashes
from seasoning.data.sources import Used
from seasoning.errors import BadInput, Mismatch, RunConflict
from seasoning.evaluation.measure import measure, measurement
from seasoning.evaluation.progress import Meter, Watch
from seasoning.models import PixelClassifier, require_architecture
from seasoning.models.probe import pick_device
from seasoning.outcomes import ModelKey, Outcomes
from seasoning.report import CLEAN, Row, Table
from seasoning.statistics import Estimate
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE, check_folder, claimed
from seasoning.threat import Threat


__all__ = ["Cost", "Line", "SetResult", "accuracy_table", "evaluate_sets", "mean_corruption"]


_FEW = 64  # images that tell whether a radius makes sense


class Cost(NamedTuple):
    """What a measurement took: gradients and forward passes of single images, and seconds."""

    gradients: int
    forwards: int
    seconds: float


class Line(NamedTuple):
    """One line of the answer; the cost of what is only computed from other lines is `None`."""

    estimate: Estimate
    cost: Cost | None


class SetResult(NamedTuple):
    """What became of one set of images.

    Args:
        name: Of the set, such as `"imagenet-c/fog/3"`.
        column: Of the table, such as `"imagenet-c"`.
        lines: The answers: `"clean"`, every threat, with several of them `"union"`; of sets with a mask also
            `"unmasked"`, clean over all classes, and of conflict stimuli `"shape bias"`.
        counted: For each of the first three, which samples are right.
        size: Height and width at which the images were measured.
        notes: What a reader of the numbers has to know.
        kind: A key of `FACTS`, or `None` for a set without files.
    """

    name: str
    column: str
    lines: dict[str, Line]
    counted: dict[str, statistics.Column]
    size: tuple[int, int]
    notes: list[str]
    kind: str | None


def evaluate_sets(
    source: str | Path,
    spec: EvaluateSpec,
    folder: Path,
    *,
    watch: Watch,
    beside: Sequence[str | Path] = (),
    say: Callable[[str], None] = lambda note: None,
) -> list[SetResult]:
    """Clean, per-threat and union accuracy of one checkpoint on data sets, with their cost.

    Outcomes are kept in the folder, so a measurement that was cut off goes on where it was.

    Args:
        source: What `load_ingredient` reads.
        spec: What is asked.
        folder: Where outcomes are kept.
        watch: Told what is being done, the work done and the work in all.
        beside: Other checkpoints that it is compared with: where training images are left out, theirs are, too.
        say: Told how many images the checkpoint was trained, validated or chosen on.

    Returns:
        One result for each set, those of one column beside each other.

    Raises:
        UnknownName: no such data set, split, architecture, suite, loss or precision.
        BadInput: data that cannot be measured, a device that this machine lacks, or images to leave out of which a
            checkpoint lists only a sample.
        Mismatch: the checkpoint does not fit the architecture, or was trained with another normalization.
        RunConflict: the folder is that of a run, or of something else.
    """
    attacks = {
        threat: suite_attack(
            spec.attack.suite,
            threat.norm,
            loss=spec.attack.loss,
            steps=spec.attack.steps,
            precision=spec.precision,
        )
        for threat in map(Threat.parse, spec.threats)
    }
    network = spec.network
    require_architecture(network.architecture, network.options)
    if not is_there(source):
        parted(source)  # says what is near
    leave_out = spec.reading.leave_out_training_images
    looked_at = [source, *(each for each in beside if each != source)] if leave_out else [source]
    known = known_images({str(each): each for each in looked_at}, leave_out=leave_out, say=say)
    opened = open_data(spec.data, _reading(source, spec))
    _require_one_model(opened, bool(attacks))
    try:
        model = build_for(
            network.architecture,
            network.options,
            outputs=opened[0].outputs,
            channels=opened[0].channels,
            state=load_ingredient(source),
            constants=_constants(source, network),
        )
    except Mismatch as error:
        # The number of classes may be wrong since the data were taken for something else.
        raise Mismatch("\n".join(filter(None, (str(error), opened[0].remark)))) from error
    key = ModelKey.of([_identity(model, network.architecture, network.options)], [1.0])
    model.to(pick_device(spec.device))
    if spec.channels_last:
        model.to(memory_format=torch.channels_last)
    meter = Meter(watch, len(opened) * (1 + len(attacks)))
    check_folder(folder, fresh=True)
    with claimed(folder), Store(folder / STORE) as store:
        if read_record(store) is not None:
            raise RunConflict(f"{folder} holds a run, whose numbers others would blur: choose another --out")
        results = []
        while opened:
            each = opened.pop(0)  # what it lists is let go of before the next one
            samples, note = _read(each, view_of(model), known, leave_out, say)
            samples = seen_by(model, samples)
            for threat in attacks:
                check_threat(threat, samples.images(slice(_FEW)))  # before the clean images are measured
            samples = samples if spec.batch_size is None else replace(samples, batch_size=spec.batch_size)
            ask = partial(_measured, store, meter, key, model, samples, spec.seed)
            results.append(_result(each, samples, note, ask, attacks))
    return results


def accuracy_table(results: Mapping[str, Sequence[SetResult]], line: str = CLEAN) -> Table:
    """A table like the paper's: one row for each model, one column for each data set, and their plain mean.

    Args:
        results: What `evaluate_sets` gave for each model, by the model's name; all over the same data sets.
        line: Which answer: `"clean"`, a threat or `"union"`.
    """
    rows, columns = [], []
    for name, found in results.items():
        groups = {column: [each.counted[line] for each in sets] for column, sets in groupby(found, lambda e: e.column)}
        columns = list(groups)
        cells = [
            statistics.proportion(group[0][1]) if len(group) == 1 else statistics.mean_of_groups([group])
            for group in groups.values()
        ]
        mean = [statistics.mean_of_groups(list(groups.values()))] if len(groups) > 1 else []
        rows.append(Row(name, 1, [*cells, *mean]))
    note = "Accuracy in %, 95 % intervals (Agresti-Coull; of means over base images). MEAN: plain mean of the columns."
    return Table(line, note, [*columns, *(["MEAN"] if len(columns) > 1 else [])], rows, "accuracy")


def mean_corruption(results: Sequence[SetResult]) -> float | None:
    """The mCE on the published ImageNet-C in units of AlexNet's errors; `None` unless all 75 subsets are there."""
    errors: dict[str, list[float]] = {}
    for each in results:
        if each.kind == "imagenet-c":
            errors.setdefault(each.name.split("/")[1], []).append(1 - each.lines[CLEAN].estimate.value)
    if errors.keys() != ALEXNET_ERRORS.keys() or any(len(each) != 5 for each in errors.values()):
        return None
    ratios = [metrics.corruption_error(each, ALEXNET_ERRORS[name]) for name, each in errors.items()]
    return sum(ratios) / len(ratios)


def _require_one_model(opened: Sequence[Opened], attacked: bool) -> None:
    """Refuse sets that no single model can be measured on, before any work."""
    first = opened[0]
    # Of the subsets of a C version the first stands for all.
    for _, sets in groupby(opened, lambda each: each.column):
        each = next(sets)
        if (each.outputs, each.channels) != (first.outputs, first.channels):
            raise BadInput(
                f"{first.name} wants a model of {first.outputs} classes and {first.channels} channels, {each.name} "
                f"one of {each.outputs} and {each.channels}: measure them apart, or name the classes by --classes"
            )
        if attacked and each.listing is not None and each.listing.valid is not None:
            raise BadInput(f"{each.name} has several right classes for an image, an attack knows one: measure it clean")


def _result(
    opened: Opened,
    samples: Samples,
    note: str,
    ask: Callable[[Threat | None, Attack | None], tuple[Outcomes, Cost]],
    attacks: Mapping[Threat, Attack],
) -> SetResult:
    clean, cost = ask(None, None)
    lines = {CLEAN: Line(metrics.accuracy(clean), cost)}
    counted = {CLEAN: metrics.clean_column(clean)}
    if clean.texture is not None:
        lines["shape bias"] = Line(metrics.shape_bias(clean), None)
    elif clean.unmasked is not None:
        lines["unmasked"] = Line(metrics.unmasked_accuracy(clean), None)
    attacked = []
    for threat, attack in attacks.items():
        outcomes, cost = ask(threat, attack)
        attacked.append(outcomes)
        lines[str(threat)] = Line(metrics.robust_accuracy(outcomes), cost)
        counted[str(threat)] = metrics.robust_column(outcomes)
    if len(attacked) > 1:
        lines["union"] = Line(metrics.union_accuracy(*attacked), None)
        counted["union"] = metrics.union_column(*attacked)
    left_out = f"{len(samples.skipped)} images could not be read and are left out, such as {(*samples.skipped, '')[0]}"
    notes = [*opened.notes, *([left_out] if samples.skipped else []), *([note] if note else [])]
    height, width = samples.x.shape[2:]
    return SetResult(opened.name, opened.column, lines, counted, (height, width), notes, opened.kind)


def _read(
    opened: Opened, photo: Photo, known: Mapping[str, UsedImages], leave_out: bool, say: Callable[[str], None]
) -> tuple[Samples, str]:
    """The images of a set, after a look at which of them made a checkpoint; without these, and a note, if asked."""
    if not leave_out:
        samples = opened.read(photo)
        for each in overlaps(samples.name, pixel_hashes(samples.x), known) if known else ():
            say(f"warning: {each}")
        return samples, ""
    kept = ~np.isin(opened.ids.numpy(), used_ids(opened, photo, known))
    require_some(int(kept.sum()), opened.name, len(kept))
    lost = f"{int((~kept).sum()):,} of {len(kept):,} images that a checkpoint was made with are left out"
    # Read again rather than copied: beyond memory the images lie in a mapped file.
    rows = None if kept.all() else np.flatnonzero(kept).tolist()
    return opened.read(photo, rows=rows), lost


def _reading(source: str | Path, spec: EvaluateSpec) -> ReadOptions:
    """How images are read; parts of known data sets leave out what the checkpoint was trained on."""
    reading = spec.reading
    return ReadOptions(
        split=spec.split,
        transform=reading.transform,
        workers=reading.workers,
        cache=None if reading.cache is None else Path(reading.cache),
        skip_damaged=reading.skip_damaged,
        partial=reading.partial,
        class_names=reading.classes or None,
        class_order=reading.class_order,
        carried=carried_names(source),
        used={name: Used(*counts) for name, counts in images_used(source).items()},
    )


def _constants(source: str | Path, network: NetworkSection) -> Constants | None:
    """By what images are normalized: what the checkpoint says of itself, else what the caller says."""
    said = constants_of([source]) if speaks_of(source, network.architecture) else None
    given = None if network.mean is None or network.std is None else Constants(network.mean, network.std)
    return settled(said, given, str(source))


def _measured(
    store: Store,
    meter: Meter,
    key: ModelKey,
    model: PixelClassifier,
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
        on_block=lambda fraction: meter.advance(doing, before + fraction - meter.done),
    )
    meter.advance(doing, before + 1 - meter.done)
    asked = measurement(key, samples, threat=threat, attack=attack, seed=seed, smoke=False)
    headers = [header for mark, header in store.headers() if mark == asked.key]
    gradients, forwards, seconds = (
        sum(header[name] for header in headers) for name in ("gradients", "forwards", "seconds")
    )
    return outcomes, Cost(gradients, forwards, seconds)


def _identity(model: PixelClassifier, architecture: str, options: Mapping[str, Any] | None) -> str:
    """What tells this model from others: its parameters, its normalization, and what they are put into."""
    built = f"{architecture} {sorted((options or {}).items())}".encode()
    facts = {"mean": model.mean, "std": model.std, "architecture": _bytes(built), "code": _bytes(model.code.encode())}
    # A mark before each name keeps the facts apart from the network's own tensors.
    return fingerprint({**model.network.state_dict(), **{f" {name}": fact for name, fact in facts.items()}})


def _bytes(content: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0, dtype=torch.uint8)

"""`evaluate`: one checkpoint, or the ensemble of several, clean and under threats, on one data set or several."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from seasoning import metrics, statistics
from seasoning.attacks import Attack, suite_attack
from seasoning.attacks.checks import check_threat
from seasoning.checkpoints.images import UsedImages
from seasoning.commands.batch_sizes import GIB, fewer
from seasoning.commands.classifiers import Joined, Member, join, reading_of, require_members
from seasoning.commands.overlap import known_images, overlaps, require_some, used_ids
from seasoning.config.evaluate import EvaluateSpec
from seasoning.config.run_record import EvaluationNote, note_evaluation, read_record
from seasoning.data import Samples
from seasoning.data.corrupted_sets import ALEXNET_ERRORS
from seasoning.data.decoding import Photo
from seasoning.data.open import Opened, open_data
from seasoning.data.pixels import pixel_hashes
from seasoning.errors import BadInput, RunConflict
from seasoning.evaluation.batch_size import BatchSize
from seasoning.evaluation.measure import measure, measurement
from seasoning.evaluation.progress import Meter, Watch
from seasoning.evaluation.reuse import take_over
from seasoning.models.probe import pick_device
from seasoning.outcomes import Outcomes
from seasoning.report import CLEAN, Row, Table
from seasoning.statistics import Estimate
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE, check_folder, claimed
from seasoning.threat import Threat


__all__ = [
    "Cost",
    "Line",
    "SetResult",
    "accuracy_table",
    "drawn_in_words",
    "evaluate_ensemble",
    "evaluate_sets",
    "mean_corruption",
]


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
        there: How many images there are, those that were not drawn or could not be read among them.
        passes: Forward passes at inference: one for each member of an ensemble.
    """

    name: str
    column: str
    lines: dict[str, Line]
    counted: dict[str, statistics.Column]
    size: tuple[int, int]
    notes: list[str]
    kind: str | None
    there: int = 0
    passes: int = 1

    @property
    def images(self) -> int:
        """How many were measured."""
        return self.lines[CLEAN].estimate.n


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
        BadInput: data that cannot be measured, fewer images than asked for, a device that this machine lacks, or images
            to leave out of which a checkpoint lists only a sample.
        Mismatch: the checkpoint does not fit the architecture, or was trained with another normalization.
        RunConflict: the folder is that of a run, or of something else.
    """
    return _evaluate([Member(source, spec.network)], spec, folder, watch, beside, say)


def evaluate_ensemble(
    members: Sequence[Member],
    spec: EvaluateSpec,
    folder: Path,
    *,
    watch: Watch,
    say: Callable[[str], None] = lambda note: None,
) -> list[SetResult]:
    """The same of the ensemble of several checkpoints: mean probabilities, attacked as one model.

    Args:
        members: The checkpoints, each with its network, which takes the place of the spec's.
        spec: What is asked.
        folder: Where outcomes are kept.
        watch: As for `evaluate_sets`.
        say: Told how many images each checkpoint was trained, validated or chosen on.

    Raises:
        BadInput: fewer than two members, two that are one model, or some that do not see the same images.
        Mismatch: two that name the classes in two orders; and as `evaluate_sets`.
    """
    if len(members) < 2:
        raise BadInput(f"an ensemble of {len(members)} checkpoint: give two or more")
    return _evaluate(members, spec, folder, watch, (), say)


def _evaluate(
    members: Sequence[Member],
    spec: EvaluateSpec,
    folder: Path,
    watch: Watch,
    beside: Sequence[str | Path],
    say: Callable[[str], None],
) -> list[SetResult]:
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
    require_members(members)
    sources = [each.source for each in members]
    looked_at = [*sources, *(each for each in beside if each not in sources)] if _leaves_out(spec) else sources
    known = known_images({str(each): each for each in looked_at}, leave_out=_leaves_out(spec), say=say)
    opened = open_data(spec.data, reading_of(members, spec))
    _require_one_model(opened, spec, bool(attacks))
    joined = join(members, opened)
    joined.model.to(pick_device(spec.device))
    if spec.channels_last:
        joined.model.to(memory_format=torch.channels_last)
    meter = Meter(watch, len(opened) * (1 + len(attacks)))
    check_folder(folder, fresh=True)
    with claimed(folder), Store(folder / STORE) as store:
        if read_record(store) is not None:
            raise RunConflict(f"{folder} holds a run, whose numbers others would blur: choose another --out")
        results = []
        while opened:
            each = opened.pop(0)  # what it lists is let go of before the next one
            samples, there, note = _read(each, spec, joined.photo, known, say)
            samples = joined.seen(samples)
            for threat in attacks:
                check_threat(threat, samples.images(slice(_FEW)))  # before the clean images are measured
            samples = samples if spec.batch_size is None else replace(samples, batch_size=spec.batch_size)
            ask = partial(_measured, store, meter, joined, samples, spec.seed, spec.memory)
            result = _result(each, samples, note, ask, attacks)
            results.append(result._replace(there=there, passes=len(members)))
        note_evaluation(store, _note(members, spec, results))
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
        rows.append(Row(name, found[0].passes, [*cells, *mean]))
    note = "Accuracy in %, 95 % intervals (Agresti-Coull; of means over base images). MEAN: plain mean of the columns."
    note = " ".join([note, *drawn_in_words(next(iter(results.values()), ()))])
    return Table(line, note, [*columns, *(["MEAN"] if len(columns) > 1 else [])], rows, "accuracy")


def drawn_in_words(results: Sequence[SetResult]) -> list[str]:
    """Of how many images the numbers are, where these are not all: a sentence, or none."""
    said = []
    for column, sets in groupby(results, lambda each: each.column):
        first, *more = sets
        if first.images < first.there:
            said.append(f"on {first.images:,} of {first.there:,} images of {'each part of ' if more else ''}{column}")
    return [f"Measured {', '.join(said)}."] if said else []


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


def _require_one_model(opened: Sequence[Opened], spec: EvaluateSpec, attacked: bool) -> None:
    """Refuse sets that no single model can be measured on, or with fewer images than asked for, before any work."""
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
        if spec.images is not None or spec.shots is not None:
            each.draw(spec.images, spec.shots, spec.seed)


def _result(
    opened: Opened,
    samples: Samples,
    note: str,
    ask: Callable[[Threat | None, Attack | None], tuple[Outcomes, Cost, list[str]]],
    attacks: Mapping[Threat, Attack],
) -> SetResult:
    clean, cost, notes = ask(None, None)
    lines = {CLEAN: Line(metrics.accuracy(clean), cost)}
    counted = {CLEAN: metrics.clean_column(clean)}
    if clean.texture is not None:
        lines["shape bias"] = Line(metrics.shape_bias(clean), None)
    elif clean.unmasked is not None:
        lines["unmasked"] = Line(metrics.unmasked_accuracy(clean), None)
    attacked = []
    for threat, attack in attacks.items():
        outcomes, cost, more = ask(threat, attack)
        notes = list(dict.fromkeys([*notes, *more]))
        attacked.append(outcomes)
        lines[str(threat)] = Line(metrics.robust_accuracy(outcomes), cost)
        counted[str(threat)] = metrics.robust_column(outcomes)
    if len(attacked) > 1:
        lines["union"] = Line(metrics.union_accuracy(*attacked), None)
        counted["union"] = metrics.union_column(*attacked)
    left_out = f"{len(samples.skipped)} images could not be read and are left out, such as {(*samples.skipped, '')[0]}"
    notes = [*opened.notes, *([left_out] if samples.skipped else []), *([note] if note else []), *notes]
    height, width = samples.x.shape[2:]
    return SetResult(opened.name, opened.column, lines, counted, (height, width), notes, opened.kind)


def _leaves_out(spec: EvaluateSpec) -> bool:
    return spec.reading.leave_out_training_images


def _note(members: Sequence[Member], spec: EvaluateSpec, results: Sequence[SetResult]) -> EvaluationNote:
    return EvaluationNote(
        checkpoints=tuple(str(each.source) for each in members),
        networks=tuple(each.network for each in members),
        spec=spec,
        images={each.name: (each.images, each.there) for each in results},
    )


def _read(
    opened: Opened, spec: EvaluateSpec, photo: Photo, known: Mapping[str, UsedImages], say: Callable[[str], None]
) -> tuple[Samples, int, str]:
    """The images of a set that are asked for, after a look at which made a checkpoint; without these where asked.

    Beside them how many there are to draw from, which those left out are not, and a note that says how many these were.
    """
    if not _leaves_out(spec):
        samples = opened.read(photo, rows=opened.draw(spec.images, spec.shots, spec.seed))
        for each in overlaps(samples.name, pixel_hashes(samples.x), known) if known else ():
            say(f"warning: {each}")
        return samples, len(opened.ids), ""
    used = used_ids(opened, photo, known)
    lost, count = int(np.isin(opened.ids.numpy(), used).sum()), len(opened.ids)
    require_some(count - lost, opened.name, count)
    # Read again rather than copied: beyond memory the images lie in a mapped file.
    samples = opened.read(photo, rows=opened.draw(spec.images, spec.shots, spec.seed, left_out=used))
    return samples, count - lost, f"{lost:,} of {count:,} images that a checkpoint was made with are left out"


def _measured(
    store: Store,
    meter: Meter,
    joined: Joined,
    samples: Samples,
    seed: int,
    memory: float | None,
    threat: Threat | None,
    attack: Attack | None,
) -> tuple[Outcomes, Cost, list[str]]:
    """One measurement, one unit of the meter's work, what it cost whenever it was made, and notes on its batches."""
    doing, before = f"measuring {threat or CLEAN}", meter.done
    meter.advance(doing, 0)
    asked = measurement(joined.key, samples, threat=threat, attack=attack, seed=seed, smoke=False)
    take_over(store, asked, samples)
    outcomes = measure(
        store,
        joined.key,
        lambda: joined.model,
        samples,
        threat=threat,
        attack=attack,
        seed=seed,
        smoke=False,
        fingerprint=asked.samples,
        memory=None if memory is None else int(memory * GIB),
        on_block=lambda fraction: meter.advance(doing, before + fraction - meter.done),
    )
    meter.advance(doing, before + 1 - meter.done)
    headers = [header for mark, header in store.headers() if mark == asked.key]
    gradients, forwards, seconds = (
        sum(header[name] for header in headers) for name in ("gradients", "forwards", "seconds")
    )
    sizes = dict.fromkeys(filter(None, map(BatchSize.kept, headers)))
    return outcomes, Cost(gradients, forwards, seconds), [fewer(size) for size in sizes if size.size < size.wanted]

"""`seasoning evaluate`: what a checkpoint is worth, on one data set or several."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seasoning.cli.names import require_each
from seasoning.cli.shared import Memory, numbers, option, progress, warn


if TYPE_CHECKING:
    from seasoning.commands.evaluate import Line, SetResult
    from seasoning.config.evaluate import EvaluateSpec


__all__ = ["evaluate"]


_Options = Annotated[
    list[str] | None, typer.Option("--option", help="Of the architecture, such as activation=silu; repeatable.")
]

_Arch = Annotated[
    list[str],
    typer.Option(
        help="Architecture, by timm's name or ours, or path/to/file.py:function: once, or once for each checkpoint in "
        "their order."
    ),
]
_Ensemble = Annotated[
    bool,
    typer.Option("--ensemble", help="Measure the mean probabilities of all checkpoints as one model: a pass for each."),
]

# How data is read.
_Data = Annotated[
    list[str] | None,
    typer.Option(help="digits (the default), a folder or an archive, or KIND=PATH; repeatable: a column for each."),
]
_Split = Annotated[
    str | None, typer.Option(help="Part of a known data set: train, validation, selection or test (the default).")
]
_Images = Annotated[
    int | None,
    typer.Option(min=1, help="Images of each data set, drawn at random: the same for every threat, model and run."),
]
_Shots = Annotated[int | None, typer.Option(min=1, help="Or so many images of each class.")]
_Transform = Annotated[str, typer.Option(help="auto, model (photographs resized and cropped as it asks) or as-is.")]
_Classes = Annotated[
    Path | None, typer.Option(help="File of the model's classes, one a line in the order of its logits.")
]
_ClassOrder = Annotated[
    str,
    typer.Option(
        help="Order of the folders' names, where neither --classes nor the checkpoint names the classes: plain "
        "(torchvision), natural (timm) or auto: plain, whole numbers by value."
    ),
]
_Workers = Annotated[int | None, typer.Option(min=0, help="Processes that decode images.")]
_Cache = Annotated[Path | None, typer.Option(help="Folder that keeps decoded images, mapped into memory.")]
_SkipDamaged = Annotated[
    bool, typer.Option("--skip-damaged", help="Leave out images that cannot be read, and count them.")
]
_Partial = Annotated[bool, typer.Option("--partial", help="Measure what is there of a data set that is not complete.")]

_LeaveOut = Annotated[
    bool,
    typer.Option(
        "--leave-out-training-images",
        help="Leave out images that a checkpoint was trained, validated or chosen on, as its file lists them.",
    ),
]
_Precision = Annotated[
    str, typer.Option(help="full, or bf16: attacks in bfloat16 first, then in full precision those left standing.")
]
_Seed = Annotated[int, typer.Option(min=0, help="Seed of the random starts, and of the images drawn.")]
_Threats = Annotated[list[str] | None, typer.Option("--threat", help="Threat, such as linf:8/255; repeatable.")]


def evaluate(
    checkpoints: Annotated[list[str], typer.Argument(help="Safetensors or PyTorch files, or timm:NAME.")],
    arch: _Arch,
    ensemble: _Ensemble = False,
    options: _Options = None,
    data: _Data = None,
    split: _Split = None,
    images: _Images = None,
    shots: _Shots = None,
    transform: _Transform = "auto",
    classes: _Classes = None,
    class_order: _ClassOrder = "auto",
    workers: _Workers = None,
    cache: _Cache = None,
    skip_damaged: _SkipDamaged = False,
    partial: _Partial = False,
    leave_out_training_images: _LeaveOut = False,
    threats: _Threats = None,
    suite: Annotated[str, typer.Option(help="Attack suite: default, thorough, strong or standard.")] = "default",
    loss: Annotated[str | None, typer.Option(help="Loss of its AutoPGD, for few classes: ce, targeted-ce.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of its attacks instead of the suite's own.")] = None,
    precision: _Precision = "full",
    mean: Annotated[str | None, typer.Option(help="Normalization: mean of each channel, as in 0.5,0.5,0.4.")] = None,
    std: Annotated[str | None, typer.Option(help="Normalization: standard deviation of each channel.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images in the model at a time; else by need.")] = None,
    memory: Memory = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default cuda where there is one.")] = None,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="Memory layout, often faster.")] = False,
    seed: _Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder that keeps the outcomes.")] = Path("runs/evaluate"),
) -> None:
    """Measure clean, per-threat and union accuracy of checkpoints, with intervals and cost.

    Several checkpoints or data sets make a table: a row for each checkpoint, a column for each data set, their mean.
    Run again, it goes on where it was: what is measured is never measured again.
    """
    from seasoning.config.base import read_spec
    from seasoning.config.evaluate import EvaluateSpec

    names = data or ["digits"]
    passes = {"batch_size": batch_size, "memory": memory, "device": device, "channels_last": channels_last}
    content = {
        "network": {"architecture": arch[0], "options": dict(map(option, options or []))} | _normalization(mean, std),
        "data": names,
        "split": split,
        "images": images,
        "shots": shots,
        "reading": {
            "transform": transform,
            "classes": _classes(classes) or (),
            "class_order": class_order,
            "partial": partial,
            "skip_damaged": skip_damaged,
            "leave_out_training_images": leave_out_training_images,
            "workers": workers,
            "cache": None if cache is None else str(cache),
        },
        "threats": threats or [],
        "attack": {"suite": suite, "steps": steps, "loss": loss},
        "precision": precision,
        **passes,
        "seed": seed,
    }
    results = _evaluated(checkpoints, arch, read_spec(content, EvaluateSpec), out, ensemble=ensemble)
    _print(results, f"{names[0]}{f'/{split}' if split else ''}", suite, seed)


def _evaluated(
    checkpoints: Sequence[str], architectures: Sequence[str], spec: "EvaluateSpec", out: Path, *, ensemble: bool
) -> "dict[str, list[SetResult]]":
    """The results of each model by its name."""
    from seasoning.errors import BadInput

    names = {"attack suite": spec.attack.suite, "precision": spec.precision, "split": spec.split}
    require_each(names | {"transform": spec.reading.transform}, spec.data)
    if len(architectures) not in (1, len(checkpoints)):
        raise BadInput(
            f"{len(architectures)} architectures for {len(checkpoints)} checkpoints: give --arch once for all, or once "
            "for each in their order"
        )
    everyone = architectures if len(architectures) > 1 else [*architectures] * len(checkpoints)
    with progress() as watch:
        from seasoning.commands.classifiers import Member
        from seasoning.commands.evaluate import evaluate_ensemble, evaluate_sets

        networks = [spec.network.model_copy(update={"architecture": each}) for each in everyone]
        if ensemble:
            members = [Member(*each) for each in zip(checkpoints, networks, strict=True)]
            return {
                f"ensemble of {', '.join(checkpoints)}": evaluate_ensemble(members, spec, out, watch=watch, say=warn)
            }
        specs = [spec.model_copy(update={"network": network}) for network in networks]
        return {
            checkpoint: evaluate_sets(checkpoint, own, out, watch=watch, beside=checkpoints, say=warn)
            for checkpoint, own in zip(checkpoints, specs, strict=True)
        }


def _classes(path: Path | None) -> tuple[str, ...] | None:
    from seasoning.errors import BadInput

    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--classes {path} cannot be read ({error}): expected a text file, one class a line") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise BadInput(f"--classes {path} is empty: expected one class a line, in the order of the model's logits")
    return names


def _normalization(mean: str | None, std: str | None) -> dict[str, tuple[float, ...]]:
    from seasoning.errors import BadInput

    if mean is None and std is None:
        return {}
    if mean is None or std is None:
        raise BadInput("--mean and --std go together: give both, or neither for the architecture's own")
    return {"mean": numbers("--mean", mean), "std": numbers("--std", std)}


def _print(results: "dict[str, list[SetResult]]", data: str, suite: str, seed: int) -> None:
    """One measurement as lines, several as tables."""
    (name, first), *others = results.items()
    if others or len(first) > 1:
        _print_tables(results)
    else:
        _print_one(name, data, first[0], f"suite {suite}, seed {seed}")


def _print_one(model: str, data: str, result: "SetResult", how: str) -> None:
    some = result.images < result.there
    images = f"{result.images:,} of {result.there:,} images of {data}" if some else f"{data}, {result.images} images"
    print(f"{model}{f' ({result.passes} passes)' if result.passes > 1 else ''} on {images}, {how}")
    _print_facts(result)
    _print_lines(result.lines, result.images)
    if result.passes > 1:
        print(f"each gradient and forward of the ensemble is {result.passes} passes, one of each checkpoint")


def _print_facts(result: "SetResult") -> None:
    some = f", on {result.images:,} of {result.there:,} images" if result.images < result.there else ""
    print(f"{result.name}: measured at {result.size[0]} x {result.size[1]} pixels{some}")
    for note in result.notes:
        print(f"{result.name}: {note}")


def _print_lines(lines: "dict[str, Line]", images: int) -> None:
    from seasoning.report.tables import percent

    print(f"{'':>12}  {'accuracy, % [95 %]':<22} {'gradients':>9} {'forwards':>9} {'seconds':>9}")
    for name, (estimate, cost) in lines.items():
        spent = f"{cost.gradients / images:9.1f} {cost.forwards / images:9.1f} {cost.seconds:9.1f}" if cost else ""
        print(f"{name:>12}  {percent(estimate):<22} {spent}".rstrip())
    print("gradients and forwards: mean over the images; seconds: spent on the line when it was measured")


def _print_tables(results: "dict[str, list[SetResult]]") -> None:
    """A table for each answer that all data sets have, then what only some of them have."""
    from seasoning.commands.evaluate import accuracy_table, mean_corruption
    from seasoning.report.formats import terminal
    from seasoning.report.tables import percent

    first = next(iter(results.values()))
    for line in first[0].counted:
        print(terminal(accuracy_table(results, line)))
    for _, sets in groupby(first, lambda each: each.column):
        # Of the subsets of a C version the first stands for all that have nothing to say.
        for number, each in enumerate(sets):
            if each.notes or number == 0:
                _print_facts(each)
    for name, found in results.items():
        for each in found:
            for extra in ("unmasked", "shape bias"):
                if extra in each.lines:
                    print(f"{name} on {each.name}, {extra}: {percent(each.lines[extra].estimate)}")
        corruption = mean_corruption(found)
        if corruption is not None:
            print(f"{name} on imagenet-c, mCE (AlexNet: 100): {100 * corruption:.1f}")

"""`seasoning evaluate`: what a checkpoint is worth, on one data set or several."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seasoning.cli.names import require_each
from seasoning.cli.shared import numbers, option, progress, warn


if TYPE_CHECKING:
    from seasoning.commands.evaluate import Line, SetResult
    from seasoning.config.evaluate import EvaluateSpec


__all__ = ["evaluate"]


_Options = Annotated[
    list[str] | None, typer.Option("--option", help="Of the architecture, such as activation=silu; repeatable.")
]

# How data is read.
_Data = Annotated[
    list[str] | None,
    typer.Option(help="digits (the default), a folder or an archive, or KIND=PATH; repeatable: a column for each."),
]
_Split = Annotated[
    str | None, typer.Option(help="Part of a known data set: train, validation, selection or test (the default).")
]
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

_Threats = Annotated[list[str] | None, typer.Option("--threat", help="Threat, such as linf:8/255; repeatable.")]


def evaluate(
    checkpoints: Annotated[list[str], typer.Argument(help="Safetensors or PyTorch files, or timm:NAME.")],
    arch: Annotated[str, typer.Option(help="Architecture, by timm's name or ours, or path/to/file.py:function.")],
    options: _Options = None,
    data: _Data = None,
    split: _Split = None,
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
    precision: Annotated[
        str, typer.Option(help="full, or bf16: attacks in bfloat16 first, then in full precision those left standing.")
    ] = "full",
    mean: Annotated[str | None, typer.Option(help="Normalization: mean of each channel, as in 0.5,0.5,0.4.")] = None,
    std: Annotated[str | None, typer.Option(help="Normalization: standard deviation of each channel.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Most images in the model at a time.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default cuda where there is one.")] = None,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="Memory layout, often faster.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random starts.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder that keeps the outcomes.")] = Path("runs/evaluate"),
) -> None:
    """Measure clean, per-threat and union accuracy of checkpoints, with intervals and cost.

    Several checkpoints or data sets make a table: a row for each checkpoint, a column for each data set, their mean.
    Run again, it goes on where it was: what is measured is never measured again.
    """
    from seasoning.config.base import read_spec
    from seasoning.config.evaluate import EvaluateSpec

    names, constants = data or ["digits"], _normalization(mean, std)
    network = {"architecture": arch, "options": dict(map(option, options or []))}
    content = {
        "network": network | ({} if constants is None else dict(zip(("mean", "std"), constants, strict=True))),
        "data": names,
        "split": split,
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
        "batch_size": batch_size,
        "device": device,
        "channels_last": channels_last,
        "seed": seed,
    }
    results = _evaluated(checkpoints, read_spec(content, EvaluateSpec), out)
    _print(f"{checkpoints[0]} on {names[0]}{f'/{split}' if split else ''}", results, suite, seed)


def _evaluated(checkpoints: Sequence[str], spec: "EvaluateSpec", out: Path) -> "dict[str, list[SetResult]]":
    names = {"attack suite": spec.attack.suite, "precision": spec.precision, "split": spec.split}
    require_each(names | {"transform": spec.reading.transform}, spec.data)
    with progress() as watch:
        from seasoning.commands.evaluate import evaluate_sets

        return {
            checkpoint: evaluate_sets(checkpoint, spec, out, watch=watch, beside=checkpoints, say=warn)
            for checkpoint in checkpoints
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


def _normalization(mean: str | None, std: str | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    from seasoning.errors import BadInput

    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise BadInput("--mean and --std go together: give both, or neither for the architecture's own")
    return numbers("--mean", mean), numbers("--std", std)


def _print(what: str, results: "dict[str, list[SetResult]]", suite: str, seed: int) -> None:
    """One measurement as lines, several as tables."""
    first, *others = results.values()
    if others or len(first) > 1:
        _print_tables(results)
    else:
        _print_one(what, first[0], suite, seed)


def _print_one(what: str, result: "SetResult", suite: str, seed: int) -> None:
    images = result.lines["clean"].estimate.n
    print(f"{what}, {images} images, suite {suite}, seed {seed}")
    _print_facts(result)
    _print_lines(result.lines, images)


def _print_facts(result: "SetResult") -> None:
    print(f"{result.name}: measured at {result.size[0]} x {result.size[1]} pixels")
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

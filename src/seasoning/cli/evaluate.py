"""`seasoning evaluate`: what one checkpoint is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seasoning.cli.shared import numbers, option, progress


if TYPE_CHECKING:
    from seasoning.single import Measured


__all__ = ["evaluate"]


def evaluate(
    checkpoint: Annotated[str, typer.Argument(help="A safetensors or PyTorch file, or timm:NAME.")],
    arch: Annotated[str, typer.Option(help="Architecture, by timm's name or ours, or path/to/file.py:function.")],
    options: Annotated[
        list[str] | None, typer.Option("--option", help="Of the architecture, such as activation=silu; repeatable.")
    ] = None,
    data: Annotated[str, typer.Option(help="Data set, or folder with a folder of images for each class.")] = "digits",
    split: Annotated[
        str | None, typer.Option(help="Part of a known data set: train, validation, selection or test (the default).")
    ] = None,
    threats: Annotated[
        list[str] | None, typer.Option("--threat", help="Threat, such as linf:8/255; repeatable.")
    ] = None,
    suite: Annotated[str, typer.Option(help="Attack suite: default, thorough, strong or standard.")] = "default",
    loss: Annotated[str | None, typer.Option(help="Loss of its AutoPGD, for few classes: ce, targeted-ce.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of its attacks instead of the suite's own.")] = None,
    precision: Annotated[str, typer.Option(help="full; bf16 attacks in bfloat16 first, then who stands.")] = "full",
    mean: Annotated[str | None, typer.Option(help="Normalization: mean of each channel, as in 0.5,0.5,0.4.")] = None,
    std: Annotated[str | None, typer.Option(help="Normalization: standard deviation of each channel.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Most images in the model at a time.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default cuda where there is one.")] = None,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="Memory layout, often faster.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random starts.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder that keeps the outcomes.")] = Path("runs/evaluate"),
) -> None:
    """Measure clean, per-threat and union accuracy of a checkpoint, with intervals and cost.

    Run again, it goes on where it was: what is measured is never measured again.
    """
    from seasoning.threat import Threat

    parsed = [Threat.parse(text) for text in threats or []]
    with progress() as watch:
        from seasoning.single import evaluate_checkpoint

        lines = evaluate_checkpoint(
            checkpoint,
            architecture=arch,
            data=data,
            split=split,
            threats=parsed,
            suite=suite,
            options=dict(map(option, options or [])),
            loss=loss,
            steps=steps,
            precision=precision,
            normalization=_normalization(mean, std),
            batch_size=batch_size,
            device=device,
            channels_last=channels_last,
            seed=seed,
            folder=out,
            watch=watch,
        )
    images = lines["clean"].estimate.n
    print(f"{checkpoint} on {data}{f'/{split}' if split else ''}, {images} images, suite {suite}, seed {seed}")
    _print_lines(lines, images)


def _normalization(mean: str | None, std: str | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    from seasoning.errors import BadInput

    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise BadInput("--mean and --std go together: give both, or neither for the architecture's own")
    return numbers("--mean", mean), numbers("--std", std)


def _print_lines(lines: "dict[str, Measured]", images: int) -> None:
    from seasoning.report.tables import percent

    print(f"{'':>12}  {'accuracy, % [95 %]':<22} {'gradients':>9} {'forwards':>9} {'seconds':>9}")
    for name, (estimate, cost) in lines.items():
        spent = f"{cost.gradients / images:9.1f} {cost.forwards / images:9.1f} {cost.seconds:9.1f}" if cost else ""
        print(f"{name:>12}  {percent(estimate):<22} {spent}".rstrip())
    print("gradients and forwards: mean over the images; seconds: spent on the line when it was measured")

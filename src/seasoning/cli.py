"""The command line: each command parses, calls one verb and prints."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seasoning.errors import SeasoningError


if TYPE_CHECKING:
    from seasoning.report.tables import Table
    from seasoning.single import Measured


__all__ = ["app", "main"]

app = typer.Typer(
    name="seasoning",
    help="Mix robust image classifiers into one soup, and measure it honestly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# What a shell reports of a command that the user interrupted.
_INTERRUPTED = 130


@app.callback()
def _seasoning(
    verbose: Annotated[bool, typer.Option("--verbose", help="Say what is read from where.")] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/demo"),
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of training and of all random starts.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Setting as key=value, such as training.base_epochs=1; repeatable."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Without settings: go on with the run in the folder.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try the machinery in seconds; the numbers mean nothing.")
    ] = False,
) -> None:
    """Train robust ingredients on handwritten digits, mix them, choose soups, and write a page about it.

    Run again, it goes on where it was: what is measured is never measured again.
    """
    from seasoning.config import RunSpec, resolve

    given = [*(settings or []), *([f"seed={seed}"] if seed is not None else [])]
    spec = resolve(given, RunSpec().shrunk() if smoke else RunSpec())
    asked = None if resume and not given and not smoke else spec
    with _progress() as watch:
        import torch

        from seasoning import experiment

        # Networks as small as these gain nothing from a second thread, and on a busy machine two wait for each other.
        torch.set_num_threads(1)
        finished = experiment.run(asked, out, watch=watch)
    for table in finished.tables:
        _print_table(table)
    if finished.smoke:
        print("\nSmoke run: it only tried the machinery, the numbers mean nothing.")
    print("\nIs the soup more robust to all threats at once than any of its ingredients?")
    print(*finished.answers, sep="\n", end="\n\n")
    print(f"page: {finished.page}\nsoup: {finished.soup}")


@app.command()
def mix(
    ingredients: Annotated[list[Path], typer.Argument(help="Checkpoints: safetensors or PyTorch files.")],
    weights: Annotated[
        str,
        typer.Option(help="Numbers of sum 1, such as 0.5,0.3,0.2, or uniform, line:A, differences:A,B, average:D."),
    ],
    out: Annotated[Path, typer.Option(help="The soup's file.")],
    batch_norm: Annotated[str, typer.Option(help="Running statistics: mix, geometric, clean or attacked.")] = "mix",
    arch: Annotated[str | None, typer.Option(help="Architecture, for clean and attacked.")] = None,
    options: Annotated[list[str] | None, typer.Option("--option", help="Of the architecture; repeatable.")] = None,
    data: Annotated[str | None, typer.Option(help="Training images, for clean and attacked.")] = None,
    threats: Annotated[list[str] | None, typer.Option("--threat", help="For attacked; repeatable.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the attacks.")] = 0,
) -> None:
    """Mix checkpoints into one soup."""
    from seasoning.making import check_checkpoints, make_soup
    from seasoning.soup import parse_weights
    from seasoning.threat import Threat

    soup = make_soup(
        ingredients,
        parse_weights(weights, len(ingredients)),
        out,
        policy=batch_norm,
        architecture=arch,
        options=dict(map(_option, options or [])),
        data=data,
        threats=[Threat.parse(text) for text in threats or []],
        seed=seed,
    )
    if len(ingredients) > 1:
        verdict = check_checkpoints(ingredients).verdict
        if verdict != "mix":
            print(f"warning: {verdict}", file=sys.stderr)
    print(soup)


@app.command()
def check(
    ingredients: Annotated[list[Path], typer.Argument(help="Checkpoints: safetensors or PyTorch files.")],
    arch: Annotated[str | None, typer.Option(help="Architecture, with --data.")] = None,
    options: Annotated[list[str] | None, typer.Option("--option", help="Of the architecture; repeatable.")] = None,
    data: Annotated[str | None, typer.Option(help="Labelled images: try the soups between the checkpoints.")] = None,
) -> None:
    """Say whether checkpoints can be mixed, and why."""
    from seasoning.making import check_checkpoints

    report = check_checkpoints(ingredients, architecture=arch, options=dict(map(_option, options or [])), data=data)
    for (one, other), cosine in report.cosines.items():
        edge = f", barrier {report.barriers[one, other]:+.3f} nats" if report.barriers else ""
        print(f"{ingredients[one]} and {ingredients[other]}: cosine {cosine:.3f}{edge}")
    if report.center is not None:
        print(f"in the middle of all: {report.center:+.3f} nats")
    print(report.verdict)
    if not report.mixable:
        raise typer.Exit(1)


@app.command()
def verify(
    soup: Annotated[Path, typer.Argument(help="A soup with its recipe.")],
    others: Annotated[list[Path] | None, typer.Argument(help="Its ingredients, in the recipe's order.")] = None,
    ingredients: Annotated[
        list[Path] | None, typer.Option(help="The same: names after the first may follow without the option.")
    ] = None,
) -> None:
    """Rebuild a soup from its ingredients by its recipe, and compare bit by bit."""
    from seasoning.soup import verify_soup

    found = verify_soup(soup, [*(ingredients or []), *(others or [])])
    for problem in found.problems:
        print(problem)
    if found.unchecked:
        print(f"not rebuilt, since they were measured on images: {len(found.unchecked)} running statistics")
    if found.problems:
        raise typer.Exit(1)
    print(f"{soup} is what its recipe says")


@app.command()
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
    with _progress() as watch:
        from seasoning.single import evaluate_checkpoint

        lines = evaluate_checkpoint(
            checkpoint,
            architecture=arch,
            data=data,
            split=split,
            threats=parsed,
            suite=suite,
            options=dict(map(_option, options or [])),
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


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")]) -> None:
    """Write the page of a run again, from what its store knows."""
    from seasoning.experiment import rewrite_report

    print(rewrite_report(folder))


def _normalization(mean: str | None, std: str | None) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    from seasoning.errors import BadInput

    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise BadInput("--mean and --std go together: give both, or neither for the architecture's own")
    return _numbers("--mean", mean), _numbers("--std", std)


def _option(text: str) -> tuple[str, object]:
    from seasoning.config import parse_value
    from seasoning.errors import BadInput

    name, equals, value = text.partition("=")
    if not equals:
        raise BadInput(f"--option {text!r}: expected name=value, such as activation=silu")
    return name, parse_value(value)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    from seasoning.errors import BadInput

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise BadInput(f"{option} {text!r}: expected numbers with commas between, such as 0.5,0.3,0.2") from error


@contextmanager
def _progress() -> Iterator[Callable[[str, float, float], None]]:
    """A bar with the time left, on standard error; when interrupted, says how to go on."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<26}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("starting", total=None)
            yield lambda doing, done, total: progress.update(task, description=doing, completed=done, total=total)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        raise typer.Exit(_INTERRUPTED) from None


def _print_lines(lines: "dict[str, Measured]", images: int) -> None:
    from seasoning.report.tables import percent

    print(f"{'':>12}  {'accuracy, % [95 %]':<22} {'gradients':>9} {'forwards':>9} {'seconds':>9}")
    for name, (estimate, cost) in lines.items():
        spent = f"{cost.gradients / images:9.1f} {cost.forwards / images:9.1f} {cost.seconds:9.1f}" if cost else ""
        print(f"{name:>12}  {percent(estimate):<22} {spent}".rstrip())
    print("gradients and forwards: mean over the images; seconds: spent on the line when it was measured")


def _print_table(table: "Table") -> None:
    from rich.console import Console
    from rich.table import Table as Grid

    grid = Grid(title=table.title, caption=table.note, title_justify="left", caption_justify="left")
    for column in ("model", "# FP", *table.columns):
        grid.add_column(column, justify="left" if column == "model" else "right")
    for row in table.rows:
        cells = [f"{100 * each.value:.1f}\n[dim]{100 * each.low:.0f}-{100 * each.high:.0f}[/dim]" for each in row.cells]
        if not row.one_model:
            cells[-1] = f"({cells[-1].splitlines()[0]})\n{cells[-1].splitlines()[1]}"
        grid.add_row(row.name, f"x{row.passes}", *cells)
    Console().print(grid)


def main() -> None:
    """Run the command line; an error that the user can mend is printed without a traceback and exits with 2."""
    try:
        app()
    except (SeasoningError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

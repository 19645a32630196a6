"""`seasoning mix`, `check` and `verify`: soups of checkpoints on disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seasoning.cli.names import require_data, require_names
from seasoning.cli.shared import option, warn


if TYPE_CHECKING:
    from collections.abc import Mapping

    from seasoning.soup.mixability import Likeness


__all__ = ["check", "mix", "verify"]


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
    leave_out_training_images: Annotated[
        bool,
        typer.Option(
            "--leave-out-training-images",
            help="For clean and attacked: without images that an ingredient was made with, as its file lists them.",
        ),
    ] = False,
) -> None:
    """Mix checkpoints into one soup."""
    from seasoning.threat import Threat

    parsed, given = [Threat.parse(text) for text in threats or []], dict(map(option, options or []))
    require_names("batch-norm policy", [batch_norm])
    require_names("way to mix", [weights.partition(":")[0]] if weights[:1].isalpha() else [])
    require_data([] if data is None else [data])
    from seasoning.commands.check import check_checkpoints
    from seasoning.commands.mix import make_soup
    from seasoning.soup import parse_weights

    soup = make_soup(
        ingredients,
        parse_weights(weights, len(ingredients)),
        out,
        policy=batch_norm,
        architecture=arch,
        options=given,
        data=data,
        threats=parsed,
        seed=seed,
        leave_out_training_images=leave_out_training_images,
        say=warn,
    )
    if len(ingredients) > 1:
        verdict = check_checkpoints(ingredients).verdict
        if verdict != "mix":
            warn(f"warning: {verdict}")
    print(soup)


def check(
    ingredients: Annotated[list[Path], typer.Argument(help="Checkpoints: safetensors or PyTorch files.")],
    base: Annotated[
        Path | None, typer.Option(help="What all were fine-tuned from: compares what they learned.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Say it for every group of layers, too.")] = False,
    arch: Annotated[str | None, typer.Option(help="Architecture, with --data.")] = None,
    options: Annotated[list[str] | None, typer.Option("--option", help="Of the architecture; repeatable.")] = None,
    data: Annotated[str | None, typer.Option(help="Labelled images: try the soups between the checkpoints.")] = None,
) -> None:
    """Say whether checkpoints can be mixed, and why."""
    given = dict(map(option, options or []))
    require_data([] if data is None else [data])
    from seasoning.commands.check import check_checkpoints

    report = check_checkpoints(ingredients, base=base, architecture=arch, options=given, data=data)
    for (one, other), cosine in report.cosines.items():
        edge = f", barrier {report.barriers[one, other]:+.3f} nats" if report.barriers else ""
        print(f"{ingredients[one]} and {ingredients[other]}: cosine {cosine:.3f}{edge}")
    if report.center is not None:
        print(f"in the middle of all: {report.center:+.3f} nats")
    if layers and report.whole is not None:
        _print_layers({"all": report.whole, **report.groups})
    print(report.verdict)
    if not report.mixable:
        raise typer.Exit(1)


def _print_layers(layers: "Mapping[str, Likeness]") -> None:
    """One line for each group of layers: the pair of ingredients that is least alike there."""
    width = max(map(len, layers))
    compared = any(layer.differences for layer in layers.values())
    print(f"{'':<{width}}  lowest cosine  largest distance{'  lowest cosine of differences' if compared else ''}")
    for name, layer in layers.items():
        cells = f"{min(layer.cosines.values()):13.3f}  {max(layer.distances.values()):16.3f}"
        learned = f"  {min(layer.differences.values()):28.3f}" if layer.differences else ""
        print(f"{name:<{width}}  {cells}{learned}")


def verify(
    soup: Annotated[Path, typer.Argument(help="A soup with its provenance.")],
    others: Annotated[list[Path] | None, typer.Argument(help="Its ingredients, in its provenance's order.")] = None,
    ingredients: Annotated[
        list[Path] | None, typer.Option(help="The same: names after the first may follow without the option.")
    ] = None,
) -> None:
    """Rebuild a soup from its ingredients by its provenance, and compare bit by bit."""
    from seasoning.soup import verify_soup

    found = verify_soup(soup, [*(ingredients or []), *(others or [])])
    for problem in found.problems:
        print(problem)
    if found.unchecked:
        print(f"not rebuilt, since they were measured on images: {len(found.unchecked)} running statistics")
    if found.problems:
        raise typer.Exit(1)
    print(f"{soup} is what its provenance says")

"""`seasoning mix`, `check` and `verify`: soups of checkpoints on disk."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from seasoning.cli.shared import option


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
        options=dict(map(option, options or [])),
        data=data,
        threats=[Threat.parse(text) for text in threats or []],
        seed=seed,
    )
    if len(ingredients) > 1:
        verdict = check_checkpoints(ingredients).verdict
        if verdict != "mix":
            print(f"warning: {verdict}", file=sys.stderr)
    print(soup)


def check(
    ingredients: Annotated[list[Path], typer.Argument(help="Checkpoints: safetensors or PyTorch files.")],
    arch: Annotated[str | None, typer.Option(help="Architecture, with --data.")] = None,
    options: Annotated[list[str] | None, typer.Option("--option", help="Of the architecture; repeatable.")] = None,
    data: Annotated[str | None, typer.Option(help="Labelled images: try the soups between the checkpoints.")] = None,
) -> None:
    """Say whether checkpoints can be mixed, and why."""
    from seasoning.making import check_checkpoints

    report = check_checkpoints(ingredients, architecture=arch, options=dict(map(option, options or [])), data=data)
    for (one, other), cosine in report.cosines.items():
        edge = f", barrier {report.barriers[one, other]:+.3f} nats" if report.barriers else ""
        print(f"{ingredients[one]} and {ingredients[other]}: cosine {cosine:.3f}{edge}")
    if report.center is not None:
        print(f"in the middle of all: {report.center:+.3f} nats")
    print(report.verdict)
    if not report.mixable:
        raise typer.Exit(1)


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

"""`seasoning search`: the soups that are best on a few labelled images, and what they are worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seasoning.cli.shared import option, progress


if TYPE_CHECKING:
    from seasoning.config.search import SearchPlan
    from seasoning.selection.answers import Answer, SearchResult


__all__ = ["search"]

_Cache = Annotated[Path | None, typer.Option(help="Folder that keeps decoded images, mapped instead of in memory.")]
_Partial = Annotated[bool | None, typer.Option("--partial", help="Take what is there of a set that is not complete.")]
_Skip = Annotated[bool | None, typer.Option("--skip-damaged", help="Leave out images that cannot be read.")]
_Data = Annotated[
    list[str] | None,
    typer.Option(help="Name and place, as in cartoons=path or real=imagenet-real=path; the first is the main one."),
]

_EXAMPLES = {"--ingredient": "linf=b.safetensors", "--data": "cartoons=path/to/folder", "--at-least": "cartoons=0.8"}


def search(
    plan: Annotated[Path | None, typer.Argument(help="A plan in TOML; options take the place of its settings.")] = None,
    ingredients: Annotated[
        list[str] | None, typer.Option("--ingredient", help="Name and file, as in linf=b.safetensors; repeatable.")
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture, by timm's name or ours, or file.py:function.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="Of the architecture, such as activation=silu; repeatable.")
    ] = None,
    data: _Data = None,
    cache: _Cache = None,
    partial: _Partial = None,
    skip_damaged: _Skip = None,
    shifts: Annotated[list[str] | None, typer.Option("--shift", help="Natural shift of the main data.")] = None,
    threats: Annotated[list[str] | None, typer.Option("--threat", help="On the main data, as in linf:8/255.")] = None,
    shots: Annotated[int | None, typer.Option(help="Images of each data set that choose.")] = None,
    objectives: Annotated[
        list[str] | None, typer.Option("--objective", help="mean, each, union, or a task or data set by name.")
    ] = None,
    at_least: Annotated[
        list[str] | None, typer.Option("--at-least", help="Limit of every objective, as in cartoons=0.8; repeatable.")
    ] = None,
    pareto: Annotated[list[str] | None, typer.Option("--pareto", help="Objective of the front; repeatable.")] = None,
    strategy: Annotated[str | None, typer.Option(help="climb, race, grid, greedy, uniform or random.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting of a plan as key=value, such as space.step=0.05; repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the outcomes and the soups.")] = Path("runs/search"),
) -> None:
    """Find the soups that are best on a few labelled images, and measure them honestly on all others.

    Run again, it goes on where it was: what is measured is never measured again.
    """
    from seasoning.config.search import make_plan, read_plan

    given: dict[str, Any] = {
        "architecture": arch,
        "options": dict(map(option, options or [])),
        "ingredients": dict(_pair("--ingredient", text) for text in ingredients or []),
        "data": dict(map(_named_place, data or [])),
        "cache": None if cache is None else str(cache.resolve()),
        "partial": partial,
        "skip_damaged": skip_damaged,
        "shifts": shifts,
        "threats": threats,
        "shots": shots,
        "strategy": strategy,
        "objectives": _objectives(objectives, at_least),
        "pareto": pareto,
    }
    given = {name: value for name, value in given.items() if value not in (None, {}, [])}
    asked = make_plan(given, settings or ()) if plan is None else read_plan(plan, given, settings or ())
    with progress() as watch:
        from seasoning.commands.search import search as run
        from seasoning.store.run_folder import PAGE

        found = run(asked, out, watch=watch, say=lambda line: print(line, flush=True))
    for answered in found.answers:
        _print_answer(asked, answered)
    _print_front(asked, found)
    print(f"\npage: {out / PAGE}")
    if found.smoke:
        print("\nSmoke run: it only tried the machinery, the numbers mean nothing.")


def _print_front(plan: "SearchPlan", found: "SearchResult") -> None:
    if not found.front:
        return
    print(f"\nPareto front of {' and '.join(plan.pareto)}, {found.front_scope}, on the selection points")
    for name, _, scores in found.front:
        print(f"  {' '.join(f'{100 * score:6.1f}' for score in scores)}  {name}")


def _objectives(objectives: list[str] | None, at_least: list[str] | None) -> list[dict[str, Any]]:
    from seasoning.errors import BadInput

    limits = dict(_pair("--at-least", text) for text in at_least or [])
    if limits and not objectives:
        raise BadInput("--at-least limits an objective: give one with --objective, such as union")
    return [{"best": text, "at_least": limits} for text in objectives or []]


def _pair(flag: str, text: str) -> tuple[str, str]:
    from seasoning.errors import BadInput

    name, equals, value = text.rpartition("=")
    if not (name and equals and value):
        raise BadInput(f"{flag} {text!r}: expected name=value, as in {_EXAMPLES[flag]}")
    return name, value


def _named_place(text: str) -> tuple[str, str]:
    """Name and place; the place may have its kind in front."""
    name, equals, place = text.partition("=")
    if not equals:
        return Path(text).name, text
    return (name, place) if name and place else _pair("--data", text)


def _print_answer(plan: "SearchPlan", answered: "Answer") -> None:
    from seasoning.report.tables import percent, points

    limits = "".join(
        f", {' and '.join(each.told)} at least {100 * each.least:g} %" for each in answered.objective.limits
    )
    print(f"\n{answered.objective.name}{limits}: {answered.scope}")
    width = max(len(each.name) for each in (*answered.chosen, *answered.ingredients)) + 3
    heads = [f"{plan.shots} that chose", "all others", "all", "best"]
    print(f"{'accuracy, % [95 %]':<{width}}  {heads[0]:<18} {heads[1]:<18} {heads[2]:<18} {heads[3]:>4}")
    for place, soup in enumerate((*answered.chosen, *answered.ingredients), start=1):
        rank = f"{place}. " if place <= len(answered.chosen) else "   "
        numbers = [None if each is None else percent(each) for each in soup.judged]
        cells = " ".join(f"{number or 'no images left':<18}" for number in numbers)
        missed = "misses the limit" if soup.misses(answered.objective.limits) else ""
        print(f"{rank + soup.name:<{width}}  {cells} {missed if soup.best is None else f'{soup.best:4.2f}'}".rstrip())
    for pair in answered.comparisons:
        told = f"{pair.first + 1} minus {pair.second + 1} on the others: {points(pair.difference)}"
        print(f"   {told}, p = {pair.p:.2g}, corrected {pair.corrected:.2g}")
    best = answered.chosen[0]
    if best.rough is not None and best.same is not None:
        gap = 100 * (best.rough.value - best.same.value)
        what = (
            f"{percent(best.rough)} while looking around, {percent(best.same)} in full on the same {best.same.n} images"
        )
        print(f"   1 scored {what}: a gap of {gap:+.1f} points")
    for limit, kept in zip(answered.objective.limits, best.limits, strict=True):
        on_others = "no images left" if kept.complement is None else percent(kept.complement)
        what = f"{' and '.join(limit.told)}, where {100 * limit.least:g} % are asked for"
        print(f"   1 on {what}: {percent(kept.selection)}, on the others {on_others}")
    lost = ", ".join(f"{point.n}: {100 * point.value:.1f}" for point in answered.regret)
    print(f"   points lost by choosing on fewer images: {lost}\n   soup: {answered.soup}")

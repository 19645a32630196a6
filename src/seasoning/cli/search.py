"""`seasoning search`: the soups that are best on a few labelled images, and what they are worth."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seasoning.cli.names import require_data, require_each, require_names
from seasoning.cli.shared import Memory, option, progress


if TYPE_CHECKING:
    from seasoning.commands.search_cost import SearchCost
    from seasoning.config.search import SearchPlan
    from seasoning.selection.answers import Answer, ChosenSoup, SearchResult


__all__ = ["search"]

_Cache = Annotated[Path | None, typer.Option(help="Folder that keeps decoded images, mapped instead of in memory.")]
_Partial = Annotated[bool | None, typer.Option("--partial", help="Use data sets that are not complete.")]
_Skip = Annotated[bool | None, typer.Option("--skip-damaged", help="Leave out images that cannot be read.")]
_LeaveOut = Annotated[
    bool | None,
    typer.Option(
        "--leave-out-training-images",
        help="Leave out images that an ingredient was trained, validated or chosen on, as its file lists them.",
    ),
]
_Data = Annotated[
    list[str] | None,
    typer.Option(help="Name and source, as in cartoons=path or real=imagenet-real=path; the first is the main one."),
]
_Objectives = Annotated[
    list[str] | None, typer.Option("--objective", help="mean, each, union, or a task or data set by name.")
]
_AtLeast = Annotated[
    list[str] | None,
    typer.Option("--at-least", help="Least accuracy, for all objectives, as cartoons=0.8; repeatable."),
]

_Candidates = Annotated[
    list[str] | None,
    typer.Option(
        "--candidate",
        help="Any other model of the same classes to measure beside the soups, as in joint=joint.pt; repeatable.",
    ),
]
_CandidateArchs = Annotated[
    list[str] | None,
    typer.Option(
        "--candidate-arch",
        help="Architecture of a candidate, as in joint=resnet18; by default what its file says, else --arch.",
    ),
]

_Settings = Annotated[
    list[str] | None,
    typer.Option("--set", help="Any setting of a plan as key=value, such as space.step=0.05; repeatable."),
]
_Ensemble = Annotated[bool, typer.Option("--ensemble", help="Also measure the ensemble: a pass for each ingredient.")]
_Verbose = Annotated[bool, typer.Option("--verbose", help="Print every soup, every model beside it and every test.")]

_EXAMPLES = {
    "--ingredient": "linf=b.safetensors",
    "--candidate": "joint=joint.pt",
    "--candidate-arch": "joint=resnet18",
    "--data": "cartoons=path/to/folder",
    "--at-least": "cartoons=0.8",
}

# Soups of a Pareto front that are printed without --verbose.
_FRONT = 8


def search(
    plan: Annotated[Path | None, typer.Argument(help="A plan in TOML; options override its settings.")] = None,
    ingredients: Annotated[
        list[str] | None, typer.Option("--ingredient", help="Name and file, as in linf=b.safetensors; repeatable.")
    ] = None,
    arch: Annotated[str | None, typer.Option(help="Architecture, by timm's name or ours, or file.py:function.")] = None,
    options: Annotated[
        list[str] | None, typer.Option("--option", help="Option of the network, as activation=silu; repeatable.")
    ] = None,
    candidates: _Candidates = None,
    candidate_archs: _CandidateArchs = None,
    data: _Data = None,
    cache: _Cache = None,
    partial: _Partial = None,
    skip_damaged: _Skip = None,
    leave_out_training_images: _LeaveOut = None,
    shifts: Annotated[list[str] | None, typer.Option("--shift", help="Natural shift of the main data.")] = None,
    threats: Annotated[
        list[str] | None, typer.Option("--threat", help="Threat on the main data, as in linf:8/255.")
    ] = None,
    shots: Annotated[int | None, typer.Option(help="Images of each data set to choose soups on.")] = None,
    objectives: _Objectives = None,
    at_least: _AtLeast = None,
    pareto: Annotated[list[str] | None, typer.Option("--pareto", help="Objective of the front; repeatable.")] = None,
    strategy: Annotated[str | None, typer.Option(help="climb, race, grid, greedy, uniform or random.")] = None,
    memory: Memory = None,
    settings: _Settings = None,
    ensemble: _Ensemble = False,
    verbose: _Verbose = False,
    out: Annotated[Path, typer.Option(help="Folder of the outcomes and the soups.")] = Path("runs/search"),
) -> None:
    """Find the soups that are best on a few labelled images, and measure them honestly on all others.

    Run again, it goes on where it was: what is measured is never measured again.
    """
    given: dict[str, Any] = {
        "network": _given({"architecture": arch, "options": dict(map(option, options or []))}),
        "ingredients": dict(_pair("--ingredient", text) for text in ingredients or []),
        "candidates": _candidates(candidates or [], candidate_archs or []),
        "data": dict(map(_named_place, data or [])),
        "reading": _given(
            {
                "cache": cache and str(cache.resolve()),
                "partial": partial,
                "skip_damaged": skip_damaged,
                "leave_out_training_images": leave_out_training_images,
            }
        ),
        "shifts": shifts,
        "threats": threats,
        "shots": shots,
        "strategy": strategy,
        "objectives": _objectives(objectives, at_least),
        "pareto": pareto,
        "memory": memory,
        "ensemble": ensemble or None,
    }
    asked = _plan(plan, _given(given), settings or ())
    with progress() as watch:
        from seasoning.commands.search import run_plan

        result = run_plan(asked, out, watch=watch, say=_say, on_cost=_print_cost)
    _print_result(asked, result, verbose=verbose)
    _print_page(out, result)


def _candidates(files: Sequence[str], architectures: Sequence[str]) -> dict[str, dict[str, str]]:
    from seasoning.errors import UnknownName

    found = {name: {"file": file} for name, file in (_pair("--candidate", text) for text in files)}
    for name, architecture in (_pair("--candidate-arch", text) for text in architectures):
        if name not in found:
            raise UnknownName("candidate (give its file by --candidate)", name, found)
        found[name]["architecture"] = architecture
    return found


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value not in (None, {}, [])}


def _plan(path: Path | None, given: dict[str, Any], settings: Sequence[str]) -> "SearchPlan":
    """The plan of a file, or of options alone; the architecture is that of the ingredients, where it is not given."""
    require_each({"strategy": given.get("strategy")})
    require_names("shift", given.get("shifts", []))
    from seasoning.config.search import make_plan, plan_content

    content = given if path is None else plan_content(path, given)
    network = content.get("network", {})
    said = isinstance(network, dict) and "architecture" in network
    if not said and not any(setting.startswith(("network.architecture=", "architecture=")) for setting in settings):
        from seasoning.commands.search import with_architecture

        content = with_architecture(content)
    plan = make_plan(content, settings)
    require_each({"strategy": plan.strategy, "attack suite": plan.attack.suite})
    require_names("attack suite", [plan.attack.confirm])
    require_names("shift", plan.shifts)
    require_data(plan.data.values(), Path(plan.folder))
    return plan


def _say(line: str) -> None:
    print(line, flush=True)


def _print_cost(cost: "SearchCost") -> None:
    """What the search will take, before the work."""
    _say(
        f"plan: {cost.strategy} over {cost.soups} soups of {cost.ingredients} ingredients for {cost.objectives} "
        f"objectives on {cost.tasks} tasks, {cost.shots} images each"
    )
    _say(
        f"  to search: about {cost.images:,} images measured ({cost.fraction:.3f} of the grid's), "
        f"{cost.passes:,.0f} passes"
    )
    candidates = f", {cost.candidates} candidates" if cost.candidates else ""
    _say(
        f"  final numbers of chosen soups{candidates} and ingredients: at most {cost.others:,} images, "
        f"{cost.other_passes:,.0f} passes"
    )
    _say(
        f"  about {_time(cost.seconds)} here if nothing is known yet (computed from a warm-up), "
        f"{cost.disk / 2**20:,.1f} MiB on the disk"
    )


def _time(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 100 else f"{minutes / 60:.1f} hours"


def _print_result(plan: "SearchPlan", result: "SearchResult", *, verbose: bool) -> None:
    """A line for each objective: the best soup, its accuracy, and how it compares with the best ingredient."""
    from seasoning.report.verdicts import verdict_table

    rows = [["best for", "held-out, % [95 %]", "better than the best ingredient?", "soup"], *verdict_table(result)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    print()
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    if verbose:
        for answer in result.answers:
            _print_answer(answer, plan.shots)
    _print_front(plan, result, None if verbose else _FRONT)
    if not verbose:
        print("\nEvery soup, ingredient and test: the page, or --verbose.")
    if verbose or len(result.answers) == 1:
        for answer in result.answers:
            print(f"soup for {answer.objective.name}: {answer.soup}")
    else:
        print(f"soups, one for each objective: {result.answers[0].soup.with_name('soup-….safetensors')}")


def _print_page(out: Path, result: "SearchResult") -> None:
    from seasoning.store.run_folder import PAGE

    print(f"page: {out / PAGE}")
    if result.smoke:
        print("\nSmoke run: it only tried the machinery, the numbers mean nothing.")


def _print_front(plan: "SearchPlan", result: "SearchResult", most: int | None) -> None:
    if not result.front:
        return
    print(f"\nPareto front of {' and '.join(plan.pareto)}, {result.front_scope}, on the selection points")
    for soup in result.front[:most]:
        print(f"  {' '.join(f'{100 * score:6.1f}' for score in soup.scores)}  {soup.name}")
    if most is not None and len(result.front) > most:
        print(f"  and {len(result.front) - most} more soups")


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
    """Name and source; the source may begin with its kind."""
    name, equals, source = text.partition("=")
    if not equals:
        return Path(text).name, text
    return (name, source) if name and source else _pair("--data", text)


def _print_answer(answer: "Answer", shots: int) -> None:
    """The verdict, every chosen soup, ingredient and candidate, and the notes on them."""
    from seasoning.report.verdicts import notes, verdict

    print(f"\n{answer.objective.name}: {verdict(answer)}")
    beside = (*answer.ingredients, *answer.candidates)
    width = max(len(soup.name) for soup in (*answer.chosen, *beside)) + 3
    heads = [f"{shots} that chose", "held-out", "all", "best"]
    print(f"{'accuracy, % [95 %]':<{width}}  {heads[0]:<18} {heads[1]:<18} {heads[2]:<18} {heads[3]:>4}")
    for rank, soup in enumerate(answer.chosen, start=1):
        _print_soup(f"{rank}. {soup.name}", soup, f"{soup.best:4.2f}", width)
    for soup in beside:
        missed = "misses the limit" if soup.misses(answer.objective.limits) else ""
        _print_soup(f"   {soup.name}", soup, missed, width)
    print(*(f"   {note}" for note in notes(answer)), sep="\n")


def _print_soup(name: str, soup: "ChosenSoup", last: str, width: int) -> None:
    from seasoning.report.tables import percent

    numbers = ["no images left" if each is None else percent(each) for each in soup.judged]
    print(f"{name:<{width}}  {' '.join(f'{number:<18}' for number in numbers)} {last}".rstrip())

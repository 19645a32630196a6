"""One self-contained HTML page about a run: it opens offline, loads nothing, and lets its reader choose a soup."""

import json
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from seasoning.atomic import replacing
from seasoning.report.contenders import chosen_soups, known_choices, missing
from seasoning.report.costs import cost_tables, spent
from seasoning.report.explorer import Board, Column, board, mix_command, payload
from seasoning.report.figures import drawings
from seasoning.report.published import published_tables
from seasoning.report.results import CLEAN, UNION, Results
from seasoning.report.style import inline_svg
from seasoning.report.tables import percent, points, shifts_table, spoken_weights, threats_table, top_table
from seasoning.report.verdicts import answer_tables, confirmed_unions, front_table, union_differences, verdict
from seasoning.selection.answers import Answer


__all__ = ["assets", "environment", "explorer_content", "write_page"]

_Each = TypeVar("_Each")
_SCRIPTS = ("board", "choose", "chart", "scatter", "maps", "tables", "explorer", "main")


class _Sliders(NamedTuple):
    """Sliders under one heading: indices and names of their columns."""

    title: str
    columns: list[tuple[int, str]]


def write_page(results: Results, path: Path, *, published: bool = False, folder: Path | None = None) -> Path:
    """Write the page of a run, completely or not at all; of an unfinished run what is there, and what is missing.

    Args:
        results: The run.
        path: The file.
        published: Whether the paper's tables stand beside those of the run.
        folder: Folder of the run, which an unfinished one names; by default that of the file.
    """
    known = board(results)
    content = _content(results, published) | explorer_content(known)
    doing = "demo --resume" if results.is_demo else "search …"
    content["command"] = f"seasoning {doing} --out {shlex.quote(str(path.parent if folder is None else folder))}"
    with replacing(path) as temporary:
        temporary.write_text(environment().get_template("page.html.j2").render(**content), encoding="utf-8")
    return path


def environment() -> Environment:
    """The templates of the page, with its filters."""
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_read),
    )
    made.filters |= {"percent": percent, "points": points}
    return made


def _read(name: str) -> str:
    return resources.files("seasoning.report").joinpath("assets", name).read_text(encoding="utf-8")


def assets(kind: str) -> Markup:
    """The style of the page (`"css"`), or its scripts as one (`"js"`)."""
    if kind == "css":
        return Markup(_read("page.css"))
    whole = "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    return Markup(f'(() => {{\n"use strict";\n{whole}}})();')


def explorer_content(known: Board) -> dict[str, Any]:
    """What the explorer's part of a page needs."""
    text = json.dumps(payload(known), separators=(",", ":"), ensure_ascii=False)
    return {
        "board": known,
        "board_json": Markup(text.replace("<", "\\u003c")),
        "sliders": _sliders(known.columns),
        "presets": _presets(known.columns),
        "clean_column": next((index for index, column in enumerate(known.columns) if column.kind == CLEAN), None),
        "has_held_out": bool(known.held_out),
        "images": max((column.images // column.parts for column in known.columns), default=0),
    }


def _sliders(columns: Sequence[Column]) -> list[_Sliders]:
    """Sliders of columns under attack, then of those without."""
    groups = {"Under attack": _Sliders("Under attack", []), "Without attack": _Sliders("Without attack", [])}
    for index, column in enumerate(columns):
        title = "Under attack" if column.kind in ("threat", UNION) else "Without attack"
        groups[title].columns.append((index, column.name))
    return [group for group in groups.values() if group.columns]


def _presets(columns: Sequence[Column]) -> list[tuple[str, str]]:
    """Names of useful states of the sliders, and the states."""
    kinds = [column.kind for column in columns]
    found = []
    if UNION in kinds:
        found.append(("All threats at once", [kind == UNION for kind in kinds]))
    if "shift" in kinds:
        found.append(("Mean of clean and shifts", [kind in (CLEAN, "shift") for kind in kinds]))
    if UNION in kinds and CLEAN in kinds:
        found.append(("Clean and all threats", [kind in (CLEAN, UNION) for kind in kinds]))
    if CLEAN in kinds:
        found.append(("Clean only", [kind == CLEAN for kind in kinds]))
    return [(name, " ".join("10" if shown else "0" for shown in state)) for name, state in found]


def _content(results: Results, published: bool) -> dict[str, Any]:
    threats = threats_table(results) if results.threats else None
    tables = [shifts_table(results)] if results.shifts or not results.threats else []
    whole, parts = _whole_and_parts(results, answer_tables(results))
    commands, part_commands = _whole_and_parts(results, _commands(results))
    stages = spent(results).values()
    return {
        "script": assets("js"),
        "css": assets("css"),
        "results": results,
        "record": results.record,
        "missing": missing(results),
        "hero": _hero(results),
        "threats": threats,
        "tables": [table for table in (*tables, top_table(results)) if table.rows],
        "published": published_tables(results) if published else [],
        "answers": whole,
        "part_answers": parts,
        "front": front_table(results),
        "costs": cost_tables(results),
        "confirmed": confirmed_unions(results),
        "confirmed_differences": union_differences(results, confirming=True) if results.record.confirming else [],
        "comparisons": union_differences(results),
        "figures": [(figure, Markup(inline_svg(figure))) for figure in drawings(results)],
        "commands": commands,
        "part_commands": part_commands,
        "gradients": sum(stage.gradients for stage in stages),
        "seconds": sum(stage.seconds for stage in stages),
        "machines": _machines(results),
    }


def _whole_and_parts(results: Results, each: Mapping[str, _Each]) -> tuple[list[_Each], list[_Each]]:
    """What belongs to objectives, by their names: of those over whole data sets, and of those over one part of many."""
    columns = set(results.columns.values())
    parts = {
        objective.name
        for objective in results.record.objectives
        if len(objective.tasks) == 1 and objective.tasks not in columns
    }
    return [own for name, own in each.items() if name not in parts], [each[name] for name in each if name in parts]


def _hero(results: Results) -> dict[str, Any]:
    """The first screen: question, answer, the chosen soup and its numbers on held-out images."""
    if results.record.answers:
        return _answered(results, results.record.answers[0])
    objective = results.record.objectives[0]
    choice = next(iter(chosen_soups(results, objective, 1)), None)
    return _screen(
        results,
        question=f"Is one soup better for \u201c{objective.name}\u201d than the best of its ingredients?",
        answer="Not known yet: the search has not ended.",
        weights=choice.weights if choice else None,
        why=f"Of the soups measured so far it was the best for \u201c{objective.name}\u201d",
        score=choice.score if choice else None,
        what=objective.name,
        number=None,
        rival=None,
        clean=None,
        file="",
    )


def _answered(results: Results, answer: Answer) -> dict[str, Any]:
    """The first screen of a search that has ended: its first objective."""
    best, name = answer.chosen[0], answer.objective.name
    clean = results.entry(results.soup(best.weights), (CLEAN,))
    rival = next(
        (ingredient for ingredient in answer.ingredients if answer.rival and ingredient.name == answer.rival.name), None
    )
    return _screen(
        results,
        question=f"Is one soup better for \u201c{name}\u201d than the best of its ingredients?",
        answer=verdict(answer),
        weights=best.weights,
        why=f"It was the best for \u201c{name}\u201d {answer.scope}",
        score=best.judged.selection,
        what=name,
        number=best.judged.complement,
        rival=(rival.name, rival.judged.complement) if rival and rival.judged.complement else None,
        clean=None if clean is None else clean.estimate,
        file=answer.soup.name,
    )


def _screen(results: Results, *, answer: str, weights: tuple[float, ...] | None, **rest: Any) -> dict[str, Any]:
    word, colon, words = answer.partition(": ")
    files = [note.path for note in results.ingredients]
    return rest | {
        "word": word if colon else "",
        "answer": words[:1].upper() + words[1:] if colon else answer,
        "weights": weights,
        "words": spoken_weights(results, weights) if weights else "",
        "command": mix_command(files, weights, results.plan.batch_norm) if weights else "",
    }


def _commands(results: Results) -> dict[str, tuple[str, str, str]]:
    """For every objective with a chosen soup its name, the weights in words, and the command that writes the soup."""
    files, policy = [note.path for note in results.ingredients], results.plan.batch_norm
    return {
        name: (name, spoken_weights(results, weights), mix_command(files, weights, policy))
        for name, weights in known_choices(results).items()
    }


def _machines(results: Results) -> str:
    """Every device and set of versions that measured a block."""
    sentences = [
        f"{header['device']}, {', '.join(f'{name} {version}' for name, version in header['versions'].items())}"
        for _, header in results.blocks
    ]
    return "; ".join(dict.fromkeys(sentences))

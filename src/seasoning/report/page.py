"""One self-contained HTML page about a run: it opens offline, loads nothing, and lets its reader choose a soup."""

import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from seasoning import metrics
from seasoning.atomic import replacing
from seasoning.report.answers import Answer, answer_tables, answers, told
from seasoning.report.contenders import missing, single_soup, specific_soups, union_soup
from seasoning.report.costs import cost_tables, spent
from seasoning.report.explorer import UNION, Board, Column, board, mix_command, payload
from seasoning.report.figures import drawings
from seasoning.report.published import published_tables
from seasoning.report.results import CLEAN, Results
from seasoning.report.style import inline_svg
from seasoning.report.tables import Table, percent, points, shifts_table, spoken_weights, threats_table, top_table
from seasoning.report.verdicts import comparisons, confirmed_unions, shift_verdict, verdict
from seasoning.statistics import Estimate


__all__ = ["assets", "environment", "explorer_content", "write_page"]

_SCRIPTS = ("board", "choose", "chart", "scatter", "maps", "tables", "explorer", "main")
_SEVERITY = re.compile(r"(.+)[/:]([1-9])$")


class _Sliders(NamedTuple):
    """Sliders under one heading: places and names of their columns; `together` adds one that moves them all."""

    title: str
    columns: list[tuple[int, str]]
    together: bool


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
    content["command"] = results.setting.command.format(folder=path.parent if folder is None else folder)
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
        "clean_column": next((place for place, each in enumerate(known.columns) if each.kind == CLEAN), None),
        "has_held_out": bool(known.held_out),
    }


def _sliders(columns: Sequence[Column]) -> list[_Sliders]:
    groups: dict[str, _Sliders] = {}
    for place, each in enumerate(columns):
        split = _SEVERITY.match(each.name) if each.kind == "shift" else None
        if split:
            group = groups.setdefault(split[1], _Sliders(split[1], [], together=True))
            group.columns.append((place, f"severity {split[2]}"))
        else:
            title = "Under attack" if each.kind in ("threat", UNION) else "Without attack"
            groups.setdefault(title, _Sliders(title, [], together=False)).columns.append((place, each.name))
    order = sorted(groups.values(), key=lambda each: each.title != "Under attack")
    return sorted(order, key=lambda each: each.together)


def _presets(columns: Sequence[Column]) -> list[tuple[str, str]]:
    """Names of useful states of the sliders, and the states."""
    kinds = [each.kind for each in columns]
    found = []
    if UNION in kinds:
        found.append(("All threats at once", [kind == UNION for kind in kinds]))
    if "shift" in kinds:
        found.append(("Mean of clean and shifts", [kind in (CLEAN, "shift") for kind in kinds]))
    if UNION in kinds and CLEAN in kinds:
        found.append(("Clean and all threats", [kind in (CLEAN, UNION) for kind in kinds]))
    if CLEAN in kinds:
        found.append(("Clean only", [kind == CLEAN for kind in kinds]))
    return [(name, " ".join("10" if each else "0" for each in state)) for name, state in found]


def _content(results: Results, published: bool) -> dict[str, Any]:
    threats = threats_table(results) if results.threats else None
    tables = [shifts_table(results)] if results.shifts or not results.threats else []
    tables = [each for each in (*tables, top_table(results)) if each.rows]
    setting = results.setting
    return {
        "script": assets("js"),
        "css": assets("css"),
        "results": results,
        "setting": setting,
        "missing": missing(results),
        "hero": _hero(results, threats),
        "threats": threats,
        "tables": tables,
        "published": published_tables(results) if published else [],
        "answers": answer_tables(results),
        "costs": cost_tables(results),
        "confirmed_verdict": verdict(results, confirming=True) if results.confirming else "",
        "confirmed": confirmed_unions(results) if results.confirming else {},
        "shift_verdict": shift_verdict(results) if results.shifts else "",
        "comparisons": comparisons(results),
        "validation": _validation(results),
        "figures": [(each, Markup(inline_svg(each))) for each in drawings(results)],
        "commands": _commands(results),
        "gradients": sum(each.gradients for each in spent(results).values()),
        "seconds": sum(each.seconds for each in spent(results).values()),
        "machines": _machines(results),
    }


def _hero(results: Results, threats: Table | None) -> dict[str, Any]:
    """The first screen: question, answer, the chosen soup and its numbers on held-out images."""
    found = answers(results)
    if found:
        return _searched(results, found[0])
    name, tasks = ("union soup", results.threats) if results.threats else ("single soup", (CLEAN, *results.shifts))
    table = threats or shifts_table(results)
    choice = None
    if results.candidates(tasks):
        choice = union_soup(results) if results.threats else single_soup(results)
    rows = {row.name: row.cells for row in table.rows}
    alone = [(each.name, rows[each.name][-1]) for each in results.ingredients if each.name in rows]
    known = [(rival, cell) for rival, cell in alone if cell is not None]
    objective = "under all threats at once" if results.threats else "over all data sets"
    return _screen(
        results,
        question="Is one soup more robust to all threats at once than any of its ingredients?"
        if results.threats
        else "Is one soup better over all data sets than any of its ingredients?",
        answer=verdict(results) if results.threats else shift_verdict(results),
        weights=choice.weights if choice else None,
        why=f"Of {len(results.candidates(tasks))} soups tried it was right most often {objective}",
        score=choice.score if choice else None,
        what="union accuracy" if results.threats else "mean accuracy",
        number=rows[name][-1] if name in rows else None,
        rival=max(known, key=lambda each: each[1].value) if known else None,
        clean=rows[name][0] if name in rows else None,
        file="soup.safetensors",
    )


def _searched(results: Results, best: Answer) -> dict[str, Any]:
    """The first screen of `seasoning search`: its first objective."""
    outcomes = results.outcomes(results.soup(best.weights), "test", CLEAN)
    return _screen(
        results,
        question=f"Is one soup better for \u201c{best.name}\u201d than the best of its ingredients?",
        answer=told(results, best),
        weights=best.weights,
        why=f"It was the best for \u201c{best.name}\u201d {best.scope}",
        score=best.selection,
        what=best.name,
        number=best.held_out,
        rival=best.rival if best.rival and best.rival[1] else None,
        clean=None if outcomes is None else metrics.accuracy(outcomes),
        file=best.file,
    )


def _screen(results: Results, *, answer: str, weights: tuple[float, ...] | None, **rest: Any) -> dict[str, Any]:
    word, colon, words = answer.partition(": ")
    files = [each.path for each in results.ingredients]
    return rest | {
        "word": word if colon else "",
        "answer": words[:1].upper() + words[1:] if colon else answer,
        "weights": weights,
        "words": spoken_weights(results, weights) if weights else "",
        "command": mix_command(files, weights, results.setting.policy) if weights else "",
    }


def _validation(results: Results) -> dict[str, Estimate | None]:
    """Every ingredient's accuracy at what it was trained for, on the validation split."""
    numbers: dict[str, Estimate | None] = {}
    for each in results.ingredients:
        task = each.threat or CLEAN
        outcomes = results.outcomes(results.alone(each.name), "validation", task)
        numbers[each.name] = None if outcomes is None else metrics.robust_accuracy(outcomes)
    return numbers


def _commands(results: Results) -> list[tuple[str, str, str]]:
    """For every chosen soup what it is for, its weights in words, and the command that writes it."""
    files, policy = [each.path for each in results.ingredients], results.setting.policy
    chosen = {}
    if found := answers(results):
        return [
            (each.name, spoken_weights(results, each.weights), mix_command(files, each.weights, policy))
            for each in found
        ]
    if results.threats and results.candidates(results.threats):
        chosen["all threats at once"] = union_soup(results)
    if results.shifts and results.candidates((CLEAN, *results.shifts)):
        chosen["the mean of clean and shifts"] = single_soup(results)
        chosen |= {f"{task} images": choice for task, choice in specific_soups(results).items()}
    return [
        (use, spoken_weights(results, each.weights), mix_command(files, each.weights, policy))
        for use, each in chosen.items()
    ]


def _machines(results: Results) -> str:
    """Every device and set of versions that measured a block."""
    told = [
        f"{header['device']}, {', '.join(f'{name} {version}' for name, version in header['versions'].items())}"
        for header in results.headers
    ]
    return "; ".join(dict.fromkeys(told))

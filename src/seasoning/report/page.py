"""One self-contained HTML page about a run; it opens offline, without a server or a script."""

import base64
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from seasoning import metrics
from seasoning.files import replacing
from seasoning.report.figures import intervals_figure, ternary_figure
from seasoning.report.needs import single_soup, specific_soups, union_soup
from seasoning.report.results import CLEAN, Results
from seasoning.report.tables import (
    comparisons,
    confirmed_unions,
    percent,
    points,
    shift_verdict,
    shifts_table,
    spoken_weights,
    threats_table,
    verdict,
)
from seasoning.selection import Candidate


__all__ = ["write_page"]


def write_page(results: Results, path: Path) -> Path:
    """Write the page of a finished run, completely or not at all.

    Raises:
        BadInput: something that the page shows is not measured yet.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    environment.filters["points"] = points
    source = resources.files("seasoning.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    html = environment.from_string(source).render(**_content(results))
    with replacing(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def _content(results: Results) -> dict[str, Any]:
    threats, chosen, soups = threats_table(results), union_soup(results), _soup_rows(results)
    union = {row.name: row.cells[-1] for row in threats.rows}
    return {
        "results": results,
        "verdict": verdict(results),
        "confirmed_verdict": verdict(results, confirming=True),
        "confirmed": confirmed_unions(results),
        "soup_words": spoken_weights(results, chosen.weights),
        "found": chosen.score,
        "kept": union["union soup"],
        "validation": _validation(results),
        "threats": threats,
        "shifts": shifts_table(results),
        "shift_verdict": shift_verdict(results),
        "comparisons": comparisons(results),
        "triangles": _triangles(results),
        "intervals": _picture(
            intervals_figure(union, "union accuracy on the test split, %, with 95 % intervals", "union soup"),
            "Union accuracy of every model with its interval; the numbers stand in the table of threats",
        ),
        "commands": _commands(results),
        "soups": soups,
        "seconds": sum(header["seconds"] for header in results.headers),
        "gradients": sum(header["gradients"] for header in results.headers),
        "machines": _machines(results),
        "tried": len(results.candidates(results.threats)),
        "noise": max(_half_width(each["union"]) for _, each in soups),
    }


def _validation(results: Results) -> dict[str, metrics.Estimate | None]:
    """Every ingredient's accuracy at what it was trained for, on the validation split."""
    numbers: dict[str, metrics.Estimate | None] = {}
    for each in results.ingredients:
        outcomes = results.outcomes(results.alone(each.name), "validation", each.threat or CLEAN)
        numbers[each.name] = None if outcomes is None else metrics.robust_accuracy(outcomes)
    return numbers


def _numbers(results: Results, candidate: Candidate) -> dict[str, metrics.Estimate]:
    """Clean, per-threat and union accuracy of one soup on the selection split."""
    attacked = [candidate.outcomes[threat] for threat in results.threats]
    numbers = {CLEAN: metrics.accuracy(attacked[0])}
    numbers |= {threat: metrics.robust_accuracy(candidate.outcomes[threat]) for threat in results.threats}
    return numbers | {"union": metrics.union_accuracy(*attacked)}


def _soup_rows(results: Results) -> list[tuple[str, dict[str, metrics.Estimate]]]:
    candidates = results.candidates(results.threats)
    return [(spoken_weights(results, each.weights), _numbers(results, each)) for each in candidates]


def _triangles(results: Results) -> list[Markup]:
    robust = results.robust_count
    names = [each.name for each in results.ingredients[:robust]]
    numbers = {
        each.weights[:robust]: _numbers(results, each)
        for each in results.candidates(results.threats)
        if not any(each.weights[robust:])
    }
    chosen = union_soup(results).weights[:robust]
    return [
        _picture(
            ternary_figure({weights: each[column].value for weights, each in numbers.items()}, names, column, chosen),
            f"{column} accuracy of the soups of {', '.join(names)} on the selection split; "
            "the numbers stand in the table of all soups",
        )
        for column in (CLEAN, *results.threats, "union")
    ]


def _commands(results: Results) -> list[tuple[str, str, str]]:
    """For every chosen soup what it is for, its weights in words, and the command that writes it."""
    chosen = {"all threats at once": union_soup(results), "the mean of clean and shifts": single_soup(results)}
    chosen |= {f"{task} images": choice for task, choice in specific_soups(results).items()}
    return [
        (use, spoken_weights(results, each.weights), _command(results, each.weights)) for use, each in chosen.items()
    ]


def _command(results: Results, weights: tuple[float, ...]) -> str:
    used = [(each.name, weight) for each, weight in zip(results.ingredients, weights, strict=True) if weight != 0]
    files = " ".join(f"ingredients/{name}.safetensors" for name, _ in used)
    return (
        f"seasoning mix {files} --weights {','.join(f'{weight:.12g}' for _, weight in used)} --out my-soup.safetensors"
    )


def _half_width(estimate: metrics.Estimate) -> float:
    return max(estimate.high - estimate.value, estimate.value - estimate.low)


def _machines(results: Results) -> str:
    """Every device and set of versions that measured a block."""
    told = [
        f"{header['device']}, {', '.join(f'{name} {version}' for name, version in header['versions'].items())}"
        for header in results.headers
    ]
    return "; ".join(dict.fromkeys(told))


def _picture(svg: str, words: str) -> Markup:
    """An image that carries its data with it and says in words what it shows."""
    data = base64.b64encode(svg.encode()).decode()
    return Markup('<img src="data:image/svg+xml;base64,{}" alt="{}">').format(data, words)

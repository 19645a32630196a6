"""The two ways to start a search, from Python and from the command line; and what files of ingredients say."""

import html
import re
from pathlib import Path
from typing import Any

import pytest
import timm
from typer.testing import CliRunner

import seasoning
from seasoning.checkpoints.load import State
from seasoning.checkpoints.provenance import Constants, ingredient_name
from seasoning.cli import app
from seasoning.commands.search import with_architecture
from seasoning.config.run_record import read_record
from seasoning.config.search import make_plan
from seasoning.errors import BadInput, Mismatch, SeasoningError
from seasoning.evaluation.evaluator import evaluate
from seasoning.models import build_model
from seasoning.report.tables import points
from seasoning.report.verdicts import short_verdict, verdict
from seasoning.store.database import Store
from seasoning.store.run_folder import STORE
from tests.commands.searches import content, found, loaded, saved, tasks_of
from tests.data.trees import save_coded


# ---- from Python


@pytest.fixture
def told(tmp_path: Path, nominal_state: State, robust_state: State) -> dict[str, str]:
    """Ingredients whose files name their architecture."""
    states = {"nominal": nominal_state, "linf": robust_state}
    return {name: saved(state, tmp_path / f"{name}.safetensors", name=name) for name, state in states.items()}


def test_the_public_function_finds_the_architecture_in_an_ingredient(told: dict[str, str], tmp_path: Path) -> None:
    quick: dict[str, Any] = {"shots": 16, "others": 10, "space": {"step": 0.5}, "attack": {"steps": 2}, "seed": 3}
    answers = seasoning.search(
        ingredients={name: Path(path) for name, path in told.items()},
        data={"digits": "digits"},
        threats=["linf:0.1"],
        out=tmp_path / "run",
        **quick,
    )
    assert [answer.objective.name for answer in answers] == ["digits", "digits@linf:0.1"]
    assert all(answer.soup.is_file() for answer in answers)
    with Store(tmp_path / "run" / STORE) as store:
        record = read_record(store)
    assert record is not None
    given = {"data": {"digits": "digits"}, "threats": ["linf:0.1"], "network": {"architecture": "resnet_small"}}
    assert record.plan == make_plan({"ingredients": told, **given, **quick})
    assert record.answers == tuple(answer._replace(soup=Path(answer.soup.name)) for answer in answers)


def test_an_architecture_that_is_given_goes_first(
    told: dict[str, str], tmp_path: Path, nominal_state: State, robust_state: State
) -> None:
    path = saved(nominal_state, tmp_path / "odd.safetensors", options={"widths": [8, 16]})
    silent = str(tmp_path / "silent.pt")
    told = {"silent": silent, "odd": path, **told}
    found_there = {"architecture": "resnet_small", "options": {"widths": [8, 16]}}
    assert with_architecture({"ingredients": told})["network"] == found_there
    # Options of the plan take the place of the file's; an architecture of the plan that of both.
    given = {"ingredients": told, "network": {"options": {}, "mean": [0.5]}}
    assert with_architecture(given)["network"] == {"architecture": "resnet_small", "options": {}, "mean": [0.5]}
    for own in ({"architecture": "vgg"}, {"network": {"architecture": "vgg"}}):
        assert with_architecture({"ingredients": told, **own}) == {"ingredients": told, **own}


@pytest.mark.parametrize("given", [{}, {"ingredients": {}}, {"ingredients": ["a"]}, {"ingredients": {"a": "none.pt"}}])
def test_without_an_architecture_it_is_said_to_be_missing(given: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"setting network(\.architecture)? is missing"):
        make_plan(with_architecture(given))


def test_ingredients_are_measured_by_the_constants_that_their_files_say(
    tmp_path: Path, nominal_state: State, robust_state: State
) -> None:
    own = Constants((0.2,), (0.8,))
    told = {
        name: saved(state, tmp_path / f"{name}.safetensors", own)
        for name, state in (("nominal", nominal_state), ("linf", robust_state))
    }
    plan = make_plan(content(told, threats=[], shifts=[], others=0, strategy="grid", space={"step": 0.5}))
    (answer,) = found(plan, tmp_path / "run").answers
    samples = tasks_of(plan)["digits"].selection.samples
    for state, soup in zip(loaded(told), answer.ingredients, strict=True):
        by_hand = build_model("resnet_small", num_classes=10, state=state, mean=(0.2,), std=(0.8,))
        assert soup.judged.whole.value == evaluate(by_hand, samples).correct.mean()
    with Store(tmp_path / "run" / STORE) as store:
        record = read_record(store)
    assert record is not None
    assert record.network.mean == pytest.approx((0.2,))
    assert record.network.std == pytest.approx((0.8,))
    network = {"architecture": "resnet_small", "mean": [0.5], "std": [0.5]}
    words = (
        r"trained with normalization mean \[0\.2\] and std \[0\.8\], not \[0\.5\] and \[0\.5\]: "
        r"leave mean and std out \(--mean and --std, or network\.mean and network\.std of"
    )
    with pytest.raises(Mismatch, match=words):
        found(make_plan(content(told, network=network)), tmp_path / "other")


# ---- from the command line


def arguments(files: dict[str, str], out: Path, *more: str) -> list[str]:
    """A quick search."""
    parts = [part for name, path in files.items() for part in ("--ingredient", f"{name}={path}")]
    quick = ["--shots", "40", "--set", "others=30", "--set", "attack.steps=3", "--set", "space.step=0.5"]
    return ["search", *parts, "--data", "digits", *quick, *more, "--out", str(out)]


def run(command: list[str]) -> str:
    """What a command that succeeds prints."""
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    return done.stdout


def refused(command: list[str]) -> str:
    """What is said of a command that somebody has to mend."""
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, SeasoningError)
    return str(done.exception)


def test_the_command_prints_what_it_found(files: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    limited = ["--threat", "linf:0.1", "--objective", "digits@linf:0.1", "--at-least", "digits=0.5"]
    command = arguments(files, out, "--arch", "resnet_small", *limited)
    printed = run(command)
    assert printed.index("plan: climb over 3 soups of 2 ingredients for 1 objectives") < printed.index("best for")
    assert "of the grid's" in printed
    assert re.search(r"about \d+ seconds here if nothing is known yet \(computed from a warm-up\), .* MiB", printed)
    lines = printed.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("best for"))
    assert lines[head].split("  ")[0] == "best for"
    # Columns stand under their heads.
    for words in ("held-out, % [95 %]", "better than the best ingredient?", "soup"):
        assert lines[head + 1][lines[head].index(words) - 1] == " " != lines[head + 1][lines[head].index(words)]
    number = r"\d+\.\d \[\d+\.\d, \d+\.\d\]"
    # One line, with the verdict against the best ingredient, and no table of everything.
    best = re.fullmatch(
        rf"digits@linf:0\.1 +({number}) +((?:Yes|No|Not shown|Not tested): .*?)  +(\d.*)", lines[head + 1]
    )
    assert best is not None
    assert lines[head + 2] == ""
    assert "1. " not in printed
    assert "Every soup, ingredient and test: the page, or --verbose." in printed
    assert len(lines) < 15
    assert f"soup for digits@linf:0.1: {out / 'soup-digits-linf-0.1.safetensors'}" in printed
    assert f"page: {out / 'report.html'}" in printed
    # The page tells of the same soup, with the same number on images that did not choose it.
    page = html.unescape((out / "report.html").read_text())
    assert best.group(1) in page
    assert best.group(3) in page

    # Everything, from what is known: soups by rank, ingredients, limits and what fewer images would have lost.
    verbose = run([*command, "--verbose"])
    assert re.search(
        rf"^1\. {re.escape(best.group(3))} +{number} +{number} +{number} +\d\.\d\d$", verbose, re.MULTILINE
    )
    assert all(re.search(rf"^   {name} +{number} +{number} +{number}", verbose, re.MULTILINE) for name in files)
    assert "Limit: digits at least 50 %." in verbose
    assert "Points lost by choosing on fewer images: 2:" in verbose

    assert "measure it: add its data, shift or threat" in refused([*command, "--objective", "digits@l1:9"])
    assert "expected name=value, as in cartoons=0.8" in refused([*command, "--at-least", "digits"])


def test_the_command_finds_the_architecture_and_takes_earlier_keys(told: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "run"
    earlier = ["--set", "attack.rough_steps=2", "--set", "workers=0", "--ensemble", "--shift", "noise"]
    run(arguments(told, out, *earlier))
    with Store(out / STORE) as store:
        record = read_record(store)
    assert record is not None
    assert record.plan.network.architecture == "resnet_small"
    assert (record.plan.attack.screening_steps, record.plan.reading.workers, record.plan.ensemble) == (2, 0, True)
    # A file of a plan without an architecture is completed alike, and settings go before what files say.
    path = tmp_path / "plan.toml"
    path.write_text(
        f'shots = 40\nothers = 30\n[ingredients]\nnominal = "{told["nominal"]}"\nlinf = "{told["linf"]}"\n'
        '[data]\ndigits = "digits"\n[space]\nstep = 0.5\n'
    )
    command = ["search", str(path), "--out", str(out)]
    run(command)
    for key in ("architecture", "network.architecture"):
        assert "unknown architecture 'resnet_smal'" in refused([*command, "--set", f"{key}=resnet_smal"])


def test_the_printed_sentences_are_those_of_the_page(
    whole: Any, files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from seasoning.cli.search import _print_result

    folder, result = whole
    _print_result(make_plan(content(files)), result, verbose=True)
    printed = capsys.readouterr().out
    page = html.unescape((folder / "report.html").read_text())
    for answer in result.answers:
        assert f"\n{answer.objective.name}: {verdict(answer)}\n" in printed
        assert verdict(answer) in page
        # The line of the table begins with the same word, and has the same figures.
        word, rest = short_verdict(answer)
        assert verdict(answer).startswith(f"{word}: ")
        assert answer.rival is None or answer.rival.difference is None or points(answer.rival.difference) in rest
        assert re.search(
            rf"^{re.escape(answer.objective.name)} .*{re.escape(f'{word}: {rest}')}", printed, re.MULTILINE
        )


def test_a_published_model_is_an_ingredient(tmp_path: Path) -> None:
    network = timm.create_model("resnet10t", num_classes=3)
    timm.models.save_for_hf(network, tmp_path / "hub", model_config={"num_classes": 3}, safe_serialization=True)
    source = f"local-dir:{tmp_path / 'hub'}"
    for number in range(9):
        save_coded(tmp_path / "images" / "abc"[number % 3] / f"{number}.png", number, side=32)
    own = {"network": {"architecture": "resnet10t"}, "data": {"made": str(tmp_path / "images")}, "shifts": []}
    sizes = {"threats": [], "shots": 4, "others": 4, "strategy": "uniform"}
    plan = make_plan(content({"one": source, "two": source}, **own, **sizes))
    found(plan, tmp_path / "run")
    with Store(tmp_path / "run" / STORE) as store:
        record = read_record(store)
    assert record is not None
    assert [(note.name, note.path) for note in record.ingredients] == [("one", source), ("two", source)]
    # The page says how to mix them again.
    assert source in html.unescape((tmp_path / "run" / "report.html").read_text())
    # One that a training starts from has no recipe, either.
    assert ingredient_name(Path(source)) is None

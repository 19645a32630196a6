"""The command line as its users meet it."""

import logging
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from seasoning.checkpoints.fingerprints import fingerprint
from seasoning.checkpoints.load import load_ingredient, save_state
from seasoning.soup import check_mixable
from tests.command_line import in_a_process, seasoning
from tests.data.trees import GREY, save_coded


def test_help_names_every_command_and_imports_no_torch() -> None:
    printed = in_a_process("--help")
    assert all(
        f" {name} " in printed
        for name in (
            *("demo", "train", "recipes", "mix", "check", "verify", "evaluate", "search", "report"),
            *("data", "corrupt"),
        )
    )
    probe = "import sys; from seasoning.cli import app; assert 'torch' not in sys.modules and 'timm' not in sys.modules"
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_the_version_is_that_of_the_package() -> None:
    assert seasoning("--version") == f"seasoning {version('seasoning')}\n"


def test_as_a_process_it_mixes_and_refuses(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_state({"w": torch.ones(3)}, tmp_path / name, {})
    out = tmp_path / "soup.safetensors"
    printed = in_a_process("mix", tmp_path / "a", tmp_path / "b", "--weights", "0.5,0.5", "--out", out)
    assert str(out) in printed
    assert load_ingredient(out)["w"].tolist() == [1, 1, 1]
    printed = in_a_process("evaluate", out, "--arch", "resnet_small", "--threat", "l22:1", expect=2)
    assert "error: setting threats=['l22:1']: unknown threat norm 'l22'" in printed


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["dmeo"], "demo"),
        (["demo", "--sed", "3"], "--seed"),
        (["demo", "--set", "treats=[]"], "threats"),
        (["demo", "--set", "recipe.data.source=digis"], "digits"),
        (["demo", "--set", 'plan.threats=["linff:0.1", "l2:1", "l1:1"]'], "linf"),
        (["demo", "--set", 'recipe.linf.threats=["linff:0.1"]'], "linf"),
        (["evaluate", "x.safetensors", "--arch", "resnet_small", "--threat", "l2:1", "--loss", "dlrr"], "dlr"),
        (["evaluate", "x.safetensors", "--arch", "resnet_small", "--threat", "l22:1"], "l2"),
        (["evaluate", "x.safetensors", "--arch", "resnet_small", "--data", "digts"], "digits"),
    ],
)
def test_unknown_names_exit_with_2_and_the_nearest(tmp_path: Path, arguments: list[str], near: str) -> None:
    out = ["--out", str(tmp_path / "run")] if arguments[0] in ("demo", "evaluate") else []
    printed = seasoning(*arguments, *out, expect=2)
    assert re.search(rf"[Dd]id you mean '?{re.escape(near)}|[Pp]ossible options: .*{re.escape(near)}", printed), printed
    assert not (tmp_path / "run").exists()


def test_checkpoints_that_do_not_fit_name_tensor_and_shapes(finished: Path, tmp_path: Path) -> None:
    save_state({"stem.weight": torch.zeros(16, 1, 5, 5)}, tmp_path / "other.safetensors", {})
    ingredient = finished / "ingredients" / "linf.safetensors"
    out = tmp_path / "soup.safetensors"
    other = tmp_path / "other.safetensors"
    printed = seasoning("mix", ingredient, other, "--weights", "0.5,0.5", "--out", out, expect=2)
    assert "error: tensor" in printed
    assert not out.exists()
    printed = seasoning("evaluate", other, "--arch", "resnet_small", "--out", tmp_path, expect=2)
    wrong = (
        "error: tensor 'stem.weight' has shape (16, 1, 5, 5) in the checkpoint, the architecture wants (16, 1, 3, 3)"
    )
    assert wrong in printed


def test_mixing_and_checking_files(finished: Path, tmp_path: Path) -> None:
    files = [finished / "ingredients" / f"{name}.safetensors" for name in ("linf", "l2")]
    out = tmp_path / "soup.safetensors"
    assert str(out) in seasoning("mix", *files, "--weights", "0.25,0.75", "--out", out)
    assert seasoning("check", *files).endswith("mix\n")
    assert "exists" in seasoning("mix", *files, "--weights", "0.25,0.75", "--out", out, expect=2)
    assert "sum to 1.25" in seasoning("mix", *files, "--weights", "0.5,0.75", "--out", tmp_path / "b", expect=2)
    assert "unknown way to mix" in seasoning("mix", *files, "--weights", "half", "--out", tmp_path / "b", expect=2)


def test_what_is_taken_from_a_checkpoint_is_said_once(finished: Path, tmp_path: Path) -> None:
    ingredient, nested = finished / "ingredients" / "linf.safetensors", tmp_path / "nested.pt"
    state = load_ingredient(ingredient)
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, nested)
    # A second command in the same process says it again, and once, too; what printed it is gone afterwards.
    for name in ("soup", "same"):
        out = tmp_path / f"{name}.safetensors"
        printed = seasoning("mix", ingredient, nested, "--weights", "0.5,0.5", "--out", out)
        assert printed.count(f"{nested}: taking the parameters from 'state_dict'\n") == 1
        assert printed.count(f"{nested}: taking 'module.' off every name\n") == 1
        assert logging.getLogger("seasoning").handlers == []


def test_checking_says_it_for_every_group_of_layers(finished: Path) -> None:
    linf, *copies = [finished / "ingredients" / f"{name}.safetensors" for name in ("linf", "l2", "l1")]
    *_, header, whole, _, _, fully, stem, verdict = seasoning("check", *copies, "--layers").splitlines()
    assert header.split() == ["lowest", "cosine", "largest", "distance"]
    assert (whole.split()[0], fully.split()[0], stem.split()[0], verdict) == ("all", "fc", "stem", "mix")
    states = [load_ingredient(path) for path in copies]
    found = check_mixable(states, base=load_ingredient(linf)).groups["fc"]
    *_, last = [line for line in seasoning("check", *copies, "--base", linf, "--layers").splitlines() if "fc" in line]
    expected = (found.cosines[0, 1], found.distances[0, 1], found.differences[0, 1])
    assert last.split()[1:] == [f"{value:.3f}" for value in expected]


def test_the_command_on_the_page_makes_the_soup(finished: Path, tmp_path: Path) -> None:
    page = (finished / "report.html").read_text()
    command = re.search(r"seasoning (mix .*) --out my-soup.safetensors", page)
    assert command is not None
    arguments = [finished / each if each.startswith("ingredients/") else each for each in command[1].split()]
    seasoning(*arguments, "--out", tmp_path / "my-soup.safetensors")
    ours, theirs = (load_ingredient(path) for path in (tmp_path / "my-soup.safetensors", finished / "soup.safetensors"))
    assert fingerprint(ours) == fingerprint(theirs)


def test_folders_and_files_in_each_others_place_are_told(finished: Path, tmp_path: Path) -> None:
    soup, file = finished / "soup.safetensors", tmp_path / "file"
    file.write_text("precious")
    assert "is a folder" in seasoning("mix", finished, soup, "--weights", "0.5,0.5", "--out", tmp_path / "b", expect=2)
    assert "error:" in seasoning("mix", soup, "--weights", "1", "--out", file / "b", expect=2)
    assert "error:" in seasoning("evaluate", soup, "--arch", "resnet_small", "--out", file, expect=2)
    assert file.read_text() == "precious"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mean", "0.5"], "--mean and --std go together"),
        (["--mean", "0.5", "--std", "a"], "--std 'a': expected numbers"),
        (["--option", "silu"], "expected name=value"),
        (["--threat", "l2:-1"], "expected a finite number of at least 0"),
    ],
)
def test_options_of_the_wrong_form_exit_with_2(tmp_path: Path, options: list[str], words: str) -> None:
    out = tmp_path / "run"
    assert words in seasoning("evaluate", "x.pt", "--arch", "resnet_small", *options, "--out", out, expect=2)
    assert not out.exists()


def test_a_soup_is_verified_and_a_changed_one_is_not(finished: Path, tmp_path: Path) -> None:
    soup, parts = (
        tmp_path / "soup.safetensors",
        [finished / "ingredients" / f"{name}.safetensors" for name in ("linf", "l2")],
    )
    seasoning("mix", *parts, "--weights", "uniform", "--out", soup)
    assert "is what its provenance says" in seasoning("verify", soup, "--ingredients", *parts)
    assert "is not ingredient 1 of its provenance" in seasoning("verify", soup, *parts[::-1], expect=1)
    content = bytearray(soup.read_bytes())
    content[-1] ^= 1
    soup.write_bytes(content)
    assert "is not what its provenance makes" in seasoning("verify", soup, *parts, expect=1)


def test_evaluate_prints_intervals(finished: Path, tmp_path: Path) -> None:
    soup = finished / "soup.safetensors"
    printed = seasoning("evaluate", soup, "--arch", "resnet_small", "--threat", "linf:0.01", "--out", tmp_path / "e")
    assert "on digits, 397 images, suite default" in printed
    assert re.search(r"clean +\d+\.\d \[\d+\.\d, \d+\.\d\] +0\.0 +1\.0 +\d+\.\d\n", printed)
    assert re.search(r"linf:0\.01 +\d+\.\d \[.*\] +\d+\.\d +\d+\.\d +\d+\.\d\n", printed)


def test_a_folder_of_another_run_is_refused_and_resume_goes_on(finished: Path, tmp_path: Path) -> None:
    printed = seasoning("demo", "--out", finished, expect=2)
    assert "holds another run" in printed
    assert "--resume" in printed
    printed = seasoning("demo", "--resume", "--out", finished)
    assert f"soup: {finished / 'soup.safetensors'}" in printed
    for objective in ("union", "mean"):
        assert f"Is one soup better for '{objective}' than the best of its ingredients?" in printed
    assert "smoke" in printed.lower()
    printed = seasoning("report", finished)
    assert str(finished / "report.html") in printed


def test_data_is_listed_and_checked(tmp_path: Path) -> None:
    printed = seasoning("data", "list")
    assert all(each in printed for each in ("imagenet-real", "30,000", "50,889", "75 x 50,000", "cat7-elephant3.png"))
    for number in range(3):
        save_coded(tmp_path / "pets" / ("cat", "dog")[number % 2] / f"{number}.png", 5, side=16)
    sheet = tmp_path / "sheet.png"
    printed = seasoning("data", "check", tmp_path / "pets", "--sheet", sheet)
    assert "3 of 3 images can be read" in printed
    assert "nothing wrong found" in printed
    assert sheet.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "pets" / "cat" / "0.png").write_text("no image")
    assert "1 images cannot be read" in seasoning("data", "check", tmp_path / "pets", expect=1)
    printed = seasoning("data", "check", tmp_path / "nowhere", "--kind", "imagenet-r", expect=2)
    assert "expected for imagenet-r" in printed
    assert "hendrycks/imagenet-r" in printed


def test_a_c_version_is_made_and_measured_in_a_table(finished: Path, tmp_path: Path) -> None:
    for number in range(10):
        save_coded(tmp_path / "pets" / str(number) / "a.png", number, side=8)
    out = tmp_path / "pets-c"
    options = ("--data", tmp_path / "pets", "--out", out)
    printed = seasoning("corrupt", *options, "--corruptions", "contrast,brightness", "--severities", "1,2")
    assert "40 images made" in printed
    assert "frost is made by code" in printed
    assert "0 images made" in seasoning("corrupt", *options, "--corruptions", "contrast", "--severities", "1")
    assert "did you mean 'fog'" in seasoning("corrupt", *options, "--corruptions", "fogg", expect=2)
    code = tmp_path / "grey.py"
    code.write_text(GREY)
    state = load_ingredient(finished / "soup.safetensors")
    save_state({f"net.{name}": tensor for name, tensor in state.items()}, tmp_path / "grey.safetensors", {})
    printed = seasoning(
        *("evaluate", tmp_path / "grey.safetensors", "--arch", f"{code}:network", "--out", tmp_path / "e"),
        *("--data", tmp_path / "pets", "--data", out),
    )
    assert re.search(r"# FP +pets +pets-c +MEAN\n", printed), printed
    assert "\npets: measured at 8 x 8 pixels" in printed
    # Of a C version the first subset tells the size, and what of the 75 is missing.
    assert printed.count("pets-c/brightness/1: measured at 8 x 8 pixels\npets-c/brightness/1: not complete: miss") == 1
    assert "pets-c/contrast" not in printed

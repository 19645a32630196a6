"""What the command line says of data: orders of classes, lists of classes, what was passed over."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from seasoning.checkpoints.load import save_state
from seasoning.cli import app
from seasoning.errors import BadInput, SeasoningError, UnknownName
from tests.commands.test_evaluate import CODED, TRAINED
from tests.data.trees import save_coded


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    for index, name in enumerate(TRAINED):
        save_coded(tmp_path / "set" / name / "1.png", index, side=8)
    (tmp_path / "set" / "class1" / "2.jxl").write_bytes(b"1")
    (tmp_path / "coded.py").write_text(CODED)
    save_state({"shift": torch.zeros(len(TRAINED))}, tmp_path / "net.safetensors", {})
    return tmp_path


def invoked(*arguments: str | Path) -> tuple[int, str, BaseException | None]:
    done = CliRunner().invoke(app, list(map(str, arguments)))
    return done.exit_code, done.output, done.exception


def evaluated(folder: Path, *more: str | Path) -> tuple[int, str, BaseException | None]:
    arch = f"{folder / 'coded.py'}:coded"
    given = ("--arch", arch, "--data", folder / "set", "--out", folder / "run")
    return invoked("evaluate", folder / "net.safetensors", *given, *more)


def test_the_order_is_an_option(numbered: Path) -> None:
    code, printed, _ = evaluated(numbered)
    assert code == 0
    assert "clean  25.0" in printed
    assert "set: classes are numbered in plain order" in printed
    assert "set: passed over: 1 file of .jxl" in printed
    code, printed, _ = evaluated(numbered, "--class-order", "natural")
    assert "clean  100.0" in printed
    assert "classes are numbered" not in printed
    _, _, error = evaluated(numbered, "--class-order", "naturl")
    assert isinstance(error, UnknownName)
    assert "did you mean 'natural'" in str(error)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("class1\nclass2\nclass10\nclass2\nZebra\n", "names 'class2' more than once, for logits 1 and 3"),
        ("\n \n", "is empty: expected one class a line"),
        (None, r"cannot be read \(.*No such file"),
    ],
)
def test_a_list_of_classes_is_refused_before_any_work(numbered: Path, content: str | None, said: str) -> None:
    if content is not None:
        (numbered / "classes.txt").write_text(content)
    _, _, error = evaluated(numbered, "--classes", numbered / "classes.txt")
    with pytest.raises(BadInput, match=said):
        raise error or SeasoningError("no error")
    assert not (numbered / "run").exists()


def test_a_list_of_classes_may_come_from_windows(numbered: Path) -> None:
    (numbered / "classes.txt").write_bytes("\ufeffclass1\r\nclass2\r\nclass10\r\nZebra\r\n".encode())
    assert "clean  100.0" in evaluated(numbered, "--classes", numbered / "classes.txt")[1]


def test_a_check_says_what_is_doubtful(numbered: Path) -> None:
    code, printed, _ = invoked("data", "check", numbered / "set")
    assert code == 1
    assert "pictures of .jxl lie beside these images" in printed
    assert "--class-order natural" in printed


def test_corrupt_says_what_it_passed_over(numbered: Path) -> None:
    code, printed, _ = invoked(
        *("corrupt", "--data", numbered / "set", "--out", numbered / "c", "--corruptions", "contrast"),
        *("--severities", "1"),
    )
    assert code == 0
    assert "4 images made" in printed
    assert "set: passed over: 1 file of .jxl" in printed

"""The README's promises: its Python runs, and its commands exist."""

import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main

from seasoning.cli import app


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_its_python_runs(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    os.symlink(finished, tmp_path / "runs" / "demo")
    monkeypatch.chdir(tmp_path)
    code = blocks(README, "python")
    assert len(code) == 1
    exec(compile(code[0], "README.md", "exec"), {})
    verdict, numbers = capsys.readouterr().out.splitlines()
    assert verdict == "mix"
    assert numbers.count("Estimate(") == 2


def lines() -> list[str]:
    return [
        line.split("#")[0].strip()
        for document in DOCUMENTS
        for block in blocks(document.read_text(), "sh")
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("seasoning ")
    ]


def leaves() -> dict[str, Any]:
    """Every command by its full name, such as `data check`."""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_group(app).commands.items():
        below = getattr(command, "commands", None)
        found |= {name: command} if below is None else {f"{name} {each}": leaf for each, leaf in below.items()}
    return found


@pytest.mark.parametrize("line", lines())
def test_commands_in_the_documents_exist(line: str) -> None:
    name, *arguments = shlex.split(line)[1:]
    commands = leaves()
    if name not in commands:
        name, arguments = f"{name} {arguments[0]}", arguments[1:]
    assert name in commands
    options = {option for parameter in commands[name].params for option in parameter.opts}
    assert {each for each in arguments if each.startswith("--")} <= options


def test_every_command_is_documented() -> None:
    for name in leaves():
        assert any(f"seasoning {name}" in document.read_text() for document in DOCUMENTS), name


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_modules_that_the_documents_name_exist() -> None:
    names = set(re.findall(r"`((?:\w+/)*\w+\.py)(?::\w+)?`", "".join(each.read_text() for each in DOCUMENTS)))
    folders = [ROOT / "src" / "seasoning", ROOT, ROOT / "tests"]
    # One is named only to say why it is gone, the other stands for a file of the reader.
    gone = {"evaluate.py", "path/to/file.py"}
    assert [name for name in sorted(names - gone) if not any((folder / name).exists() for folder in folders)] == []

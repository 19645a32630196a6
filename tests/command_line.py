"""The command line, run in this process or in one of its own."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from seasoning.cli import main


__all__ = ["in_a_process", "program", "seasoning", "terminal"]

_TERMINAL = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"}


def program(*arguments: str | Path) -> list[str]:
    """The installed command with its arguments, for a process of its own."""
    return [str(Path(sys.executable).with_name("seasoning")), *map(str, arguments)]


def terminal() -> dict[str, str]:
    """The environment of a wide terminal without colours, for a process with one thread."""
    return os.environ | _TERMINAL


def seasoning(*arguments: str | Path, expect: int = 0) -> str:
    """Run a command in this process and return what it printed, output and then errors."""
    output, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(output), redirect_stderr(errors):
        for name, value in _TERMINAL.items():
            patch.setenv(name, value)
        patch.setattr(sys, "argv", ["seasoning", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    printed = output.getvalue() + errors.getvalue()
    assert ended.value.code == expect, printed
    assert "Traceback" not in printed
    return printed


def in_a_process(*arguments: str | Path, expect: int = 0) -> str:
    """Run the installed command in a process of its own and return what it printed, output and then errors."""
    done = subprocess.run(program(*arguments), capture_output=True, text=True, env=terminal(), check=False)
    printed = done.stdout + done.stderr
    assert done.returncode == expect, printed
    assert "Traceback" not in printed
    return printed

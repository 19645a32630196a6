"""What several commands use: the progress bar, and the reading of options."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer


__all__ = ["INTERRUPTED", "Memory", "numbers", "option", "progress", "warn"]

# What a shell reports of a command that the user interrupted.
INTERRUPTED = 130

Memory = Annotated[float | None, typer.Option(help="GiB for images in work; by default half of what is free.")]


@contextmanager
def progress() -> Iterator[Callable[[str, float, float], None]]:
    """A bar with the time left, on standard error; when interrupted, says how to go on."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<26}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task("starting", total=None)
            yield lambda doing, done, total: progress.update(task, description=doing, completed=done, total=total)
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def warn(line: str) -> None:
    """Print a line on standard error."""
    print(line, file=sys.stderr, flush=True)


def option(text: str) -> tuple[str, object]:
    """Name and value of `name=value`; the value is read as TOML, and as plain text where it is none.

    Raises:
        BadInput: there is no equals sign.
    """
    from seasoning.config.base import parse_value
    from seasoning.errors import BadInput

    name, equals, value = text.partition("=")
    if not equals:
        raise BadInput(f"--option {text!r}: expected name=value, such as activation=silu")
    return name, parse_value(value)


def numbers(option: str, text: str) -> tuple[float, ...]:
    """Numbers with commas between; the error names `option`.

    Raises:
        BadInput: a part is no number.
    """
    from seasoning.errors import BadInput

    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise BadInput(f"{option} {text!r}: expected numbers with commas between, such as 0.5,0.3,0.2") from error

"""The command line: each command parses, calls one verb and prints; one module for each family of commands."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from seasoning.cli.data import corrupt, data
from seasoning.cli.demo import demo
from seasoning.cli.evaluate import evaluate
from seasoning.cli.recipes import recipes
from seasoning.cli.report import report
from seasoning.cli.search import search
from seasoning.cli.soups import check, mix, verify
from seasoning.cli.train import train
from seasoning.errors import SeasoningError


__all__ = ["app", "main"]

app = typer.Typer(
    name="seasoning",
    help="Mix robust image classifiers into one soup, and measure it honestly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


# In the order of `--help`.
for command in (demo, train, mix, check, verify, evaluate, search, corrupt, report):
    app.command()(command)
app.add_typer(recipes, name="recipes")
app.add_typer(data)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"seasoning {version('seasoning')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Mix robust image classifiers into one soup, and measure it honestly."""


class _Once(logging.Filter):
    """Lets a message pass the first time only: a checkpoint that is read twice is explained once."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in self._said
        self._said.add(message)
        return new


def main() -> None:
    """Run the command line; an error that the user can mend is printed without a traceback and exits with 2."""
    try:
        with _messages():
            app()
    except (SeasoningError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


@contextmanager
def _messages() -> Iterator[None]:
    """Print on standard error what was taken from where, and what for, as it happens."""
    logger = logging.getLogger("seasoning")
    handler, level = logging.StreamHandler(), logger.level
    handler.addFilter(_Once())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        # A second command in the same process says its own messages, once.
        logger.removeHandler(handler)
        logger.setLevel(level)

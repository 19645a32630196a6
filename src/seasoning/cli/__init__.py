"""The command line: each command parses, calls one verb and prints; one module for each family of commands."""

import logging
import sys

import typer

from seasoning.cli.demo import demo
from seasoning.cli.evaluate import evaluate
from seasoning.cli.recipes import recipes
from seasoning.cli.report import report
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
for command in (demo, train, mix, check, verify, evaluate, report):
    app.command()(command)
app.add_typer(recipes, name="recipes")


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
    # What was taken from where, and what for: said as it happens, on standard error.
    said = logging.StreamHandler()
    said.addFilter(_Once())
    logging.getLogger("seasoning").addHandler(said)
    logging.getLogger("seasoning").setLevel(logging.INFO)
    try:
        app()
    except (SeasoningError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

"""The command line: each command parses, calls one verb and prints; one module for each family of commands."""

import logging
import sys
from typing import Annotated

import typer

from seasoning.cli.demo import demo
from seasoning.cli.evaluate import evaluate
from seasoning.cli.report import report
from seasoning.cli.search import search
from seasoning.cli.soups import check, mix, verify
from seasoning.errors import SeasoningError


__all__ = ["app", "main"]

app = typer.Typer(
    name="seasoning",
    help="Mix robust image classifiers into one soup, and measure it honestly.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _seasoning(
    verbose: Annotated[bool, typer.Option("--verbose", help="Say what is read from where.")] = False,
) -> None:
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format="%(message)s")


# In the order of `--help`.
for command in (demo, mix, check, verify, evaluate, search, report):
    app.command()(command)


def main() -> None:
    """Run the command line; an error that the user can mend is printed without a traceback and exits with 2."""
    try:
        app()
    except (SeasoningError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

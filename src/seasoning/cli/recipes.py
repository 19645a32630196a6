"""`seasoning recipes`: the trainings that come with the package."""

from pathlib import Path
from typing import Annotated

import typer


__all__ = ["recipes"]

recipes = typer.Typer(no_args_is_help=True, help="List, show, copy and check the recipes of `seasoning train`.")


@recipes.command(name="list")
def _list() -> None:
    """Name every recipe, and say what it makes."""
    from seasoning.config.train import heading, recipe_files

    known = recipe_files()
    width = max(map(len, known), default=0)
    for name, path in known.items():
        print(f"{name:<{width}}  {heading(path)}")


@recipes.command()
def show(recipe: Annotated[str, typer.Argument(help="Name of a recipe, or a TOML file.")]) -> None:
    """Print a recipe."""
    from seasoning.config.train import find_recipe

    print(find_recipe(recipe)[1].read_text(encoding="utf-8"), end="")


@recipes.command()
def copy(
    recipe: Annotated[str, typer.Argument(help="Name of a recipe.")],
    to: Annotated[Path | None, typer.Argument(help="The copy; by default in this folder, under the same name.")] = None,
) -> None:
    """Copy a recipe to a file of one's own, to be changed and trained by `seasoning train FILE`."""
    from seasoning.atomic import replacing
    from seasoning.config.train import find_recipe
    from seasoning.errors import BadInput

    path = find_recipe(recipe)[1]
    target = Path(path.name) if to is None else to
    if target.exists():
        raise BadInput(f"{target} exists: choose another name for the copy, or remove it first")
    with replacing(target) as temporary:
        temporary.write_bytes(path.read_bytes())
    print(target)


@recipes.command()
def check(
    given: Annotated[
        list[str] | None, typer.Argument(help="Names or TOML files; by default all of the package.")
    ] = None,
) -> None:
    """Say whether recipes can be trained: every setting is known and possible, every threat has its attack."""
    from seasoning.commands.train_recipe import check_recipe
    from seasoning.config.train import find_recipe, read_recipe_file, recipe_files
    from seasoning.errors import SeasoningError

    wrong = 0
    for each in given or list(recipe_files()):
        name, path = find_recipe(each)
        try:
            check_recipe(read_recipe_file(path))
        except SeasoningError as error:
            wrong += 1
            print(f"{name}: {error}")
        else:
            print(f"{name}: can be trained")
    if wrong:
        raise typer.Exit(1)

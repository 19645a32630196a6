"""`seasoning data` and `seasoning corrupt`: look at data sets, and make C versions of them."""

from pathlib import Path
from typing import Annotated

import typer

from seasoning.cli.names import require_names
from seasoning.cli.shared import progress


__all__ = ["corrupt", "data"]

data = typer.Typer(name="data", help="Look at data sets before anything is measured on them.", no_args_is_help=True)


@data.command("list")
def list_() -> None:
    """Say which data sets are known, how they lie in folders, and where to get them."""
    from seasoning.data.catalogue import FACTS

    print(f"{'digits':<17} {'1,797':>12}  Handwritten digits that scikit-learn embeds: nothing to get")
    for kind, facts in FACTS.items():
        count = "any" if facts.images is None else f"{facts.images:,}"
        times = f"{facts.subsets} x " if facts.subsets > 1 else ""
        print(
            f"{kind:<17} {times + count:>12}  {facts.title}\n{'':32}layout: {facts.layout}\n{'':32}from: {facts.origin}"
        )


@data.command("check")
def check(
    root: Annotated[Path, typer.Argument(help="Folder or tar archive.")],
    kind: Annotated[str | None, typer.Option(help="What it is meant to be; see `seasoning data list`.")] = None,
    split: Annotated[str, typer.Option(help="Of CIFAR: train or test.")] = "test",
    sheet: Annotated[Path | None, typer.Option(help="PNG of samples with their labels, to look at.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Count the files, without decoding them.")] = False,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode images.")] = 0,
) -> None:
    """Say which data set a folder or an archive holds, and what of it is missing or damaged."""
    require_names("data set", [kind])
    with progress() as watch:
        from seasoning.data.check import check_data
        from seasoning.data.contact_sheet import contact_sheet, save_sheet

        checked = check_data(root, kind, split=split, decoded=not quick, workers=workers, on_images=watch)
    print(*checked.found, sep="\n")
    if sheet is not None and checked.tiles:
        save_sheet(contact_sheet(checked.tiles, checked.columns), sheet)
        print(f"contact sheet: {sheet}")
    if checked.problems:
        print("not complete:", *(f"  {each}" for each in checked.problems), sep="\n")
        raise typer.Exit(1)
    print("complete" if checked.kind not in ("folder", "folder-c") else "nothing wrong found")


def corrupt(
    data: Annotated[Path, typer.Option(help="Folder with a folder of images for each class, or any known data set.")],
    out: Annotated[Path, typer.Option(help="Folder of the C version.")],
    kind: Annotated[str | None, typer.Option(help="What it is; see `seasoning data list`.")] = None,
    corruptions: Annotated[str | None, typer.Option(help="With commas between, as in fog,snow; by default 15.")] = None,
    severities: Annotated[str, typer.Option(help="With commas between.")] = "1,2,3,4,5",
    size: Annotated[int | None, typer.Option(min=8, help="Side that photographs are resized and cropped to.")] = None,
    split: Annotated[str, typer.Option(help="Of CIFAR: train or test.")] = "test",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that work.")] = 0,
) -> None:
    """Make the C version of a data set: 15 common corruptions at 5 severities.

    Run again, it goes on where it was: what is there is not made again.
    """
    from seasoning.cli.shared import numbers

    levels = [int(each) for each in numbers("--severities", severities)]
    require_names("data set", [kind])
    require_names("corruption", [] if corruptions is None else corruptions.split(","))
    with progress() as watch:
        from seasoning.data.corruptions.apply import CORRUPTIONS
        from seasoning.data.corruptions.write import write_corrupted
        from seasoning.data.decoding import Photo
        from seasoning.data.recognise import find_set
        from seasoning.errors import BadInput

        found = find_set(data, kind, split=split)
        if len(found.parts) > 1:
            raise BadInput(
                f"{data} holds {len(found.parts)} sets, such as {found.parts[0].name}: give the folder of one"
            )
        listing = found.parts[0].open()
        made = write_corrupted(
            listing,
            found.kind,
            out,
            corruptions=CORRUPTIONS if corruptions is None else corruptions.split(","),
            severities=levels,
            seed=seed,
            # As the photographs of ImageNet-C were: the shorter side to 256 of 224, and the middle.
            view=None if size is None else Photo((size, size), 0.875, "bilinear"),
            workers=workers,
            on_images=watch,
        )
    print(f"{made} images made, C version in {out}")
    for note in (*listing.doubts, *listing.notes):
        print(f"{listing.name}: {note}")
    print("frost is made by code: its numbers are not comparable with those on the published sets")

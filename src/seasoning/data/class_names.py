"""Which logit a folder of images stands for: by the names that a user or a checkpoint says, or by an order of names."""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from seasoning.checkpoints.class_names import letters, some
from seasoning.errors import BadInput, UnknownName, nearest


__all__ = ["CLASS_ORDERS", "Numbering", "numbered", "require_distinct"]

CLASS_ORDERS = ("auto", "plain", "natural")
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Numbering:
    """What decides which logit a folder of images stands for.

    Args:
        names: The model's classes in the order of its logits, as its user says; a folder beyond them is refused.
        order: Of the folder names, where nobody names the classes: `"plain"`, by characters, as torchvision's
            `ImageFolder`; `"natural"`, numbers by value and without regard to case, as timm's reader; `"auto"`, plain,
            but by value where all names are whole numbers.
        carried: The model's classes in the order of its logits, as its checkpoint says; they decide where `names` and
            `order` do not.
    """

    names: tuple[str, ...] | None = None
    order: str = "auto"
    carried: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.order not in CLASS_ORDERS:
            raise UnknownName("class order", self.order, CLASS_ORDERS)
        if self.names is not None:
            require_distinct(self.names)


def require_distinct(names: Sequence[str], used: Collection[str] | None = None) -> None:
    """Refuse a list of classes in which a name stands for two logits.

    Args:
        names: The classes in the order of the logits.
        used: Names that matter; by default all.

    Raises:
        BadInput: with the names and their positions.
    """
    twice = [name for name, count in Counter(names).items() if count > 1 and (used is None or name in used)]
    if twice:
        logits = [str(index) for index, name in enumerate(names) if name == twice[0]]
        more = f"; {len(twice) - 1} more names stand there more than once" if len(twice) > 1 else ""
        raise BadInput(
            f"the list of classes names {twice[0]!r} more than once, for logits {' and '.join(logits)}{more}: a folder "
            f"of that name could be any of them; give each class a name of its own, as in '{twice[0]} 2', and rename "
            "the folder to the one that it holds"
        )


def numbered(
    folders: Sequence[str], numbering: Numbering, where: str, recorded: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[str]]:
    """The model's classes in the order of its logits, and what a reader has to know about that order.

    Args:
        folders: Names of the folders of images.
        numbering: What decides the order.
        where: The folder that holds them, for errors.
        recorded: All classes in their order, as noted when the folders were made; by default the folders are all.

    Raises:
        BadInput: folders that are none of the named classes.
    """
    names, order, carried = numbering.names, numbering.order, numbering.carried
    names = None if names is None else _as_written(names, folders)
    if names is None and recorded is not None:
        _require_known(folders, recorded, where, "the recorded", "the folder was changed: make it again")
        folders = recorded
    known = None if carried is None else _spelled(carried, folders)
    if names is not None:
        _require_known(folders, names, where, "the model's", "rename them, or correct the list of classes")
        return names, _contradicted(names, known, "the list of classes")
    if order != "auto":
        ordered = _ORDERS[order](folders)
        return ordered, _contradicted(ordered, known, f"the {order} order of the folders")
    ordered = _by_value(folders) if recorded is None else tuple(recorded)
    if carried is None or known is None:
        return ordered, _order_matters(ordered)
    if not set(folders) & set(known):
        differ = (
            f"the checkpoint names its classes ({some(carried)}) otherwise than the folders are called "
            f"({some(ordered)}): they are numbered by the folders' names"
        )
        return ordered, [differ, *_order_matters(ordered)]
    advice = "rename them, or say how they are numbered by --classes FILE or --class-order"
    _require_known(folders, known, where, "the checkpoint's", advice)
    require_distinct(known, folders)
    settled = [f"classes are numbered as the checkpoint names them: {some(known)}"]
    return known, [] if known == ordered else settled


def _order_matters(ordered: Sequence[str]) -> list[str]:
    """What to say of an order that nobody asked for, where another usual one would number the classes otherwise."""
    makers = {"plain": "torchvision", "natural": "timm"}
    others = {order: _ORDERS[order](ordered) for order in makers}
    differing = {order: other for order, other in others.items() if other != tuple(ordered)}
    if not differing:
        return []
    taken = f"in plain order, as {makers['plain']} does" if "plain" not in differing else "by their values"
    said = []
    for order, other in differing.items():
        index = next(index for index, (one, two) in enumerate(zip(ordered, other, strict=True)) if one != two)
        said.append(
            f"in {order} order, as {makers[order]} does, class {index} would be {other[index]!r} and not "
            f"{ordered[index]!r} (--class-order {order})"
        )
    return [
        f"classes are numbered {taken}: {some(ordered)}; {'; '.join(said)}. The accuracy is wrong unless the model "
        "was trained in the same order: --class-order or --classes FILE settles it"
    ]


def _require_known(folders: Sequence[str], names: Sequence[str], where: str, whose: str, advice: str) -> None:
    unmatched = sorted(set(folders) - set(names))
    if unmatched:
        guess = nearest(unmatched[0], names)
        raise BadInput(
            f"{where}: {len(unmatched)} folders are none of {whose} {len(names)} classes: "
            f"{', '.join(unmatched[:_MOST_NAMED])}{' …' if len(unmatched) > _MOST_NAMED else ''}; {advice}"
            + (f" (is {unmatched[0]!r} its class {guess!r}?)" if guess else "")
        )


def _contradicted(taken: Sequence[str], carried: Sequence[str] | None, by: str) -> list[str]:
    """What to say where the user's order is not that of the checkpoint's own names."""
    if carried is None or tuple(carried) == tuple(taken) or not set(carried) & set(taken):
        return []
    return [f"classes are numbered by {by} ({some(taken)}); the checkpoint names them as {some(carried)}"]


def _spelled(carried: Sequence[str], folders: Sequence[str]) -> tuple[str, ...]:
    """A checkpoint's names in the spelling of the folders: `Golden Retriever` as `golden_retriever`."""
    if set(folders) <= set(carried):
        return tuple(carried)
    by_letters = {letters(folder): folder for folder in folders}
    known = [letters(name) for name in carried]
    if len(by_letters) < len(folders) or "" in by_letters:
        return tuple(carried)
    return tuple(
        by_letters.get(key, name) if known.count(key) == 1 else name for name, key in zip(carried, known, strict=True)
    )


def _as_written(names: Sequence[str], folders: Sequence[str]) -> tuple[str, ...]:
    """Names in the form that the file system has for them: macOS parts letters from their accents."""
    written = {unicodedata.normalize("NFC", folder): folder for folder in folders}
    return tuple(written.get(unicodedata.normalize("NFC", name), name) for name in names)


def _by_value(names: Iterable[str]) -> tuple[str, ...]:
    names = list(names)
    if names and all(name.isascii() and name.isdigit() for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _natural(names: Iterable[str]) -> tuple[str, ...]:
    """As timm's reader sorts: numbers within the names by value, letters without regard to case."""
    return tuple(sorted(names, key=lambda name: (_natural_key(name), name)))


def _natural_key(name: str) -> list[tuple[int, str]]:
    # Texts and numbers alternate, so that only like is compared with like.
    parts = re.split(r"(\d+)", name.lower())
    return [(int(part), "") if index % 2 else (0, part) for index, part in enumerate(parts)]


_ORDERS: dict[str, Callable[[Iterable[str]], tuple[str, ...]]] = {
    "plain": lambda names: tuple(sorted(names)),
    "natural": _natural,
}

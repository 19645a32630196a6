"""Names of classes in the order of the logits, as checkpoints say them: found, compared, refused where they differ."""

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seasoning.checkpoints.hub import PREFIXES
from seasoning.checkpoints.load import is_there, parted, read_entries
from seasoning.errors import BadInput, Mismatch


__all__ = ["agreed_names", "carried_names", "class_names_in", "letters", "names_beside", "some"]

# Under which names checkpoints and configs keep the classes, in lower case without separators, the clearest first.
_LISTS = ("labelnames", "classnames", "classlabels", "classes", "categories", "labels", "names")
_BY_INDEX = ("id2label", "idx2label", "idxtoclass", "indextoclass", "idtoclass", "int2label", "idx2class", "id2class")
_BY_NAME = ("label2id", "classtoidx", "classtoindex", "classtoid", "label2idx", "class2idx", "class2id", "classmap")
_DEEPEST = 4  # mappings in mappings that are looked through
_PLACEHOLDER = re.compile(r"LABEL_\d+")  # what transformers writes where nobody names the classes


def class_names_in(metadata: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Names of classes in the order of the logits, as the metadata of a checkpoint or a config carry them.

    They are looked for under the usual names, such as `label_names`, `classes`, `id2label` and `class_to_idx`, also in
    mappings within; texts are read as JSON or as Python's literals.

    Args:
        metadata: What lies beside the tensors, as read.

    Returns:
        `None` where no classes are named, or only by placeholders such as `LABEL_0`.

    Raises:
        BadInput: the same classes are named twice, in different orders.
    """
    found = [(key, names) for rank, key, names in sorted(_named_in(metadata, 0), key=lambda each: each[0])]
    if not found:
        return None
    (first, names), *others = found
    for key, other in others:
        if other != names and sorted(other) == sorted(names):
            raise BadInput(
                f"the checkpoint names its classes twice, in different orders: {first} is {some(names)}, and {key} is "
                f"{some(other)}; say which is right by --classes FILE, one class a line"
            )
    return names


def carried_names(source: str | Path) -> tuple[str, ...] | None:
    """The classes of a checkpoint in the order of its logits, where it or the `config.json` beside it say so.

    Args:
        source: What `load_ingredient` reads.

    Raises:
        BadInput: the file is damaged, or names the classes in two orders.
        UnknownName: timm has no such model.
    """
    # Of one that is not there, the reader of its parameters says so.
    return names_beside(read_entries(source), source) if is_there(source) else None


def names_beside(entries: Mapping[str, Any], source: str | Path) -> tuple[str, ...] | None:
    """The classes among what stands beside the parameters of a checkpoint, or in the `config.json` beside its file.

    Args:
        entries: Metadata, or what a training script saved beside the parameters.
        source: The checkpoint.

    Raises:
        BadInput: the classes are named in two orders.
    """
    said, text = class_names_in(entries), str(source)
    beside = Path(text.removeprefix("local-dir:")) if text.startswith(PREFIXES) else parted(source)[0].parent
    config = beside / "config.json"
    if said is not None or not config.is_file():
        return said
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # a file of that name that is something else
    return class_names_in(content) if isinstance(content, Mapping) else None


def agreed_names(said: Iterable[tuple[str, Sequence[str] | None]]) -> tuple[str, ...] | None:
    """The classes in the order that all name them in; `None` where nobody names any.

    Lists that call all classes otherwise, such as by numbers of WordNet, do not contradict each other.

    Args:
        said: Who names the classes, in words for the error, and how.

    Raises:
        Mismatch: two give one class two places.
    """
    known = [(who, tuple(names)) for who, names in said if names is not None]
    for who, names in known[1:]:
        first, places = known[0][0], _places(known[0][1])
        for name, place in _places(names).items():
            if places.get(name, place) != place:
                raise Mismatch(
                    f"{first} and {who} name the classes in two orders, such as {names[place]!r}, class "
                    f"{places[name]} of {first} and class {place} of {who}: their logits do not mix"
                )
    return known[0][1] if known else None


def _places(names: Sequence[str]) -> dict[str, int]:
    """The index of each class by the letters of its name, but for names that stand there twice."""
    keys = [letters(name) or name for name in names]
    counts = Counter(keys)
    return {key: index for index, key in enumerate(keys) if counts[key] == 1}


def some(names: Sequence[str]) -> str:
    """The first few names, and of more their number."""
    return ", ".join(names[:4]) + (f", … ({len(names)})" if len(names) > 4 else "")


def letters(name: str) -> str:
    """A name without what spellings of it differ in: case, signs and spaces."""
    return "".join(letter for letter in unicodedata.normalize("NFC", name).casefold() if letter.isalnum())


def _named_in(content: Any, depth: int) -> Iterable[tuple[int, str, tuple[str, ...]]]:
    """Rank, key and names of each list of classes within a mapping."""
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    for key, value in content.items():
        plain = re.sub(r"[^a-z0-9]", "", str(key).lower())
        value = _parsed(value)
        names = None
        if plain in _LISTS + _BY_INDEX:
            names = _by_index(value) if isinstance(value, Mapping) else _listed(value)
        if plain in _BY_NAME or (names is None and plain in _LISTS + _BY_INDEX):
            names = _by_name(value)
        if names is not None and not all(map(_PLACEHOLDER.fullmatch, names)):
            yield (_BY_INDEX + _LISTS + _BY_NAME).index(plain), str(key), names
        elif isinstance(value, Mapping):
            yield from _named_in(value, depth + 1)


def _parsed(value: Any) -> Any:
    """A text as what it spells; anything else as it is."""
    if not isinstance(value, str) or value[:1] not in ("[", "{", "("):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            return read(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return value


def _listed(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list | tuple) or len(value) < 2 or not all(isinstance(name, str) for name in value):
        return None
    return tuple(value)


def _by_index(value: Mapping[Any, Any]) -> tuple[str, ...] | None:
    """Names under the numbers 0 to one less than there are."""
    try:
        names = {int(index): name for index, name in value.items()}
    except (TypeError, ValueError):
        return None
    if len(names) != len(value) or sorted(names) != list(range(len(names))):
        return None
    return _listed([names[index] for index in range(len(names))])


def _by_name(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, Mapping) or not all(type(index) is int for index in value.values()):
        return None
    turned = {index: name for name, index in value.items()}
    return _by_index(turned) if len(turned) == len(value) else None

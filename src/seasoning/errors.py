"""Errors that say what was given, what was expected and what to do; printed without a traceback."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches


__all__ = [
    "BadInput",
    "Mismatch",
    "RunConflict",
    "SeasoningError",
    "Stopped",
    "UnknownName",
    "differences",
    "nearest",
    "out_of_memory",
]

_MOST_LISTED = 30
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")


class SeasoningError(Exception):
    """Something that the caller can mend; its text says how."""


class BadInput(SeasoningError, ValueError):
    """A value out of its range or of the wrong form."""


class Mismatch(SeasoningError, ValueError):
    """Parameters that do not fit together: different names, shapes or types."""


class RunConflict(SeasoningError):
    """An output folder that holds something other than what was asked for."""


class Stopped(SeasoningError):
    """Work that was stopped on request, and can be resumed."""


class UnknownName(SeasoningError, LookupError):
    """A name that is in none of the package's tables.

    Args:
        kind: What was named, in the singular (`"shift"`).
        given: The name as given.
        known: Every valid name; all are listed where they are few, the closest where they are many.
    """

    def __init__(self, kind: str, given: str, known: Iterable[str]) -> None:
        names = list(known)
        guess = nearest(given, names)
        hint = f"did you mean {guess!r}? " if guess else ""
        listed = names if len(names) <= _MOST_LISTED else get_close_matches(given, names, n=8, cutoff=0)
        which = "known are" if listed is names else f"the closest of {len(names)} are"
        super().__init__(f"unknown {kind} {given!r}: {hint}{which} {', '.join(listed)}")
        self.nearest = guess


def nearest(given: str, known: Iterable[str]) -> str | None:
    """The valid name closest to the one given, or `None` where none is close."""
    matches = get_close_matches(given, list(known), n=1, cutoff=0.4)
    return matches[0] if matches else None


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a CPU or a card."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    )


def differences(there: Mapping[str, object], asked: Mapping[str, object], prefix: str = "") -> str:
    """The settings in which two nested mappings differ, as `"seed is 0 there and 5 here"`; empty where in none."""
    found = []
    for name in {**there, **asked}:
        one, other = there.get(name), asked.get(name)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found.append(differences(one, other, f"{prefix}{name}."))
        elif one != other:
            found.append(f"{prefix}{name} is {one} there and {other} here")
    return ", ".join(filter(None, found))

"""In which settings two descriptions of a run differ, in words."""

from collections.abc import Mapping


__all__ = ["differences"]


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

"""Tasks: what a model is measured on, as one value with one text."""

from dataclasses import dataclass, replace

from seasoning.errors import BadInput
from seasoning.threat import Threat


__all__ = ["SPLITS", "Task"]

SPLITS = ("train", "validation", "selection", "test")
_SEVERITIES = ("1", "2", "3", "4", "5")


@dataclass(frozen=True, slots=True)
class Task:
    """A data set or a part of it, clean or under a threat.

    Its text is `DATA[/PART][/SHIFT][/CORRUPTION/SEVERITY][@THREAT]`, such as `"digits/test/blur"`,
    `"imagenet-c/fog/3"` or `"digits@linf:0.19"`. A last component of 1 to 5 makes the two last ones corruption and
    severity; what follows the name of a split is a shift of it.

    Args:
        data: Name of the data set.
        part: A split of it, a key of `SPLITS`, or any other part, such as a variant or a shift of the whole set.
        shift: A shift, or any other part, of that split.
        corruption: A common corruption of it, with a severity.
        severity: From 1 to 5.
        threat: What an attack is allowed; `None`: clean images.

    Raises:
        BadInput: a name that is empty, holds `/` or `@`, or would be read as something else.
    """

    data: str
    part: str | None = None
    shift: str | None = None
    corruption: str | None = None
    severity: int | None = None
    threat: Threat | None = None

    def __post_init__(self) -> None:
        for name in (self.data, self.part, self.shift, self.corruption):
            if name is not None and (not name or "/" in name or "@" in name):
                raise BadInput(f"the name {name!r} in a task: expected one without / and @, and not an empty one")
        if (self.corruption is None) != (self.severity is None) or self.severity not in (None, 1, 2, 3, 4, 5):
            raise BadInput(f"corruption {self.corruption!r} at severity {self.severity!r}: expected both, 1 to 5")
        last = self.shift if self.shift is not None else self.part
        if self.shift is not None and (self.part not in SPLITS or self.corruption is not None):
            raise BadInput(f"shift {self.shift!r} of {self.part!r}: expected a split, {', '.join(SPLITS)}")
        if self.corruption is None and last in _SEVERITIES and self.shift is not None:
            raise BadInput(f"a part called {last!r} would be read as a severity: give it another name")

    @classmethod
    def parse(cls, text: str) -> "Task":
        """Read a task's text.

        Raises:
            BadInput: it is no such text.
            UnknownName: the norm of its threat is unknown.
        """
        path, at, threat = text.partition("@")
        data, *parts = path.split("/")
        allowed = Threat.parse(threat) if at else None
        corruption, severity = None, None
        if len(parts) > 1 and parts[-1] in _SEVERITIES:
            *parts, corruption, last = parts
            severity = int(last)
        if len(parts) > 2:
            raise BadInput(f"task {text!r}: expected DATA[/PART][/SHIFT][@THREAT], such as digits/test/blur@l2:0.5")
        part, shift = (*parts, None, None)[:2]
        return cls(data, part, shift, corruption, severity, allowed)

    def __str__(self) -> str:
        """The text that `parse` reads back to the same value."""
        parts = [self.data, self.part, self.shift, self.corruption, self.severity]
        path = "/".join(str(part) for part in parts if part is not None)
        return path if self.threat is None else f"{path}@{self.threat}"

    @property
    def clean(self) -> "Task":
        """The same images without an attack."""
        return replace(self, threat=None)

    @property
    def column(self) -> str:
        """The column of a table that it belongs to: corruptions and severities belong to that of their data set."""
        return str(replace(self, corruption=None, severity=None))

    def under(self, threat: Threat) -> "Task":
        """The same images under a threat."""
        return replace(self, threat=threat)

    def on(self, split: str) -> "Task":
        """The same on a split of the data; a part of the whole set becomes one of the split.

        Raises:
            BadInput: it is of a split already, or its name would be read as something else.
        """
        if self.part in SPLITS:
            raise BadInput(f"task {self} is of the split {self.part!r} already")
        if self.part is not None and self.corruption is not None:
            raise BadInput(f"task {self}: a corruption of the part {self.part!r} has no split")
        return replace(self, part=split, shift=self.part)

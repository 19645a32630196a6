"""How far a long piece of work is, for whoever watches."""

from collections.abc import Callable


__all__ = ["Meter", "Watch", "part_of"]

# What is being done, the work done, and the work in all.
Watch = Callable[[str, float, float], None]


def part_of(watch: Watch, begin: float, end: float) -> Watch:
    """A watcher of one part of the work, which is the fraction of the whole from `begin` to `end`."""
    return lambda doing, done, total: watch(doing, begin + (end - begin) * min(done / total, 1.0), 1.0)


class Meter:
    """Adds up the work done and tells whoever watches.

    Args:
        watch: Called with what is being done, the work done and the work in all.
        total: Work in all, in any unit that grows like time.
    """

    def __init__(self, watch: Watch, total: float) -> None:
        self._watch, self._total, self.done = watch, total, 0.0

    def advance(self, doing: str, work: float) -> None:
        """So much more is done."""
        self.done = min(self.done + work, self._total)
        self._watch(doing, self.done, self._total)

    def finish(self, doing: str) -> None:
        """All of it is done: the total was an estimate."""
        self.advance(doing, self._total)

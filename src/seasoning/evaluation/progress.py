"""How far a long piece of work is, for whoever watches."""

from collections.abc import Callable


__all__ = ["Meter"]


class Meter:
    """Adds up the work done and tells whoever watches.

    Args:
        watch: Called with what is being done, the work done and the work in all.
        total: Work in all, in any unit that grows like time.
    """

    def __init__(self, watch: Callable[[str, float, float], None], total: float) -> None:
        self._watch, self._total, self.done = watch, total, 0.0

    def advance(self, doing: str, work: float) -> None:
        """So much more is done."""
        self.done = min(self.done + work, self._total)
        self._watch(doing, self.done, self._total)

    def finish(self, doing: str) -> None:
        """All of it is done: the total was an estimate."""
        self.advance(doing, self._total)

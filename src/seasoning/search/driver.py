"""The driver: has the proposals of a strategy measured and sends back what came out."""

from collections.abc import Callable

from seasoning.search.strategies import Answer, Proposal, Strategy


__all__ = ["run_strategy"]


def run_strategy(strategy: Strategy, measure: Callable[[Proposal], Answer]) -> list[tuple[Proposal, Answer]]:
    """Run a strategy to its end.

    Args:
        strategy: A fresh generator.
        measure: Outcomes of one proposal on each of its tasks; answers from memory what it knows.

    Returns:
        Every proposal with its outcomes, in the order of asking.
    """
    found: list[tuple[Proposal, Answer]] = []
    answers: list[Answer] | None = None
    while True:
        try:
            proposals = next(strategy) if answers is None else strategy.send(answers)
        except StopIteration:
            return found
        answers = [measure(proposal) for proposal in proposals]
        found += zip(proposals, answers, strict=True)

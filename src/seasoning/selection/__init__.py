"""Selection: what a soup should be best at, which one is, and what it is worth on samples that did not choose it."""

from seasoning.selection.choose import Candidate, Choice, choose, pareto_front, require_comparable, scope
from seasoning.selection.judge import (
    Comparison,
    Judged,
    Regret,
    best_probabilities,
    compare,
    holm,
    judge,
    regret_curve,
)
from seasoning.selection.objectives import Limit, SearchObjective, Term, accuracy_on, mean_over, mix_of, union_over


__all__ = [
    "Candidate",
    "Choice",
    "Comparison",
    "Judged",
    "Limit",
    "Regret",
    "SearchObjective",
    "Term",
    "accuracy_on",
    "best_probabilities",
    "choose",
    "compare",
    "holm",
    "judge",
    "mean_over",
    "mix_of",
    "pareto_front",
    "regret_curve",
    "require_comparable",
    "scope",
    "union_over",
]

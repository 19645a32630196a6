"""Selection: what a soup should be best at, which one is, and what it is worth on samples that did not choose it."""

from seasoning.selection.choose import Candidate, Choice, choose, pareto_front, require_comparable, scope
from seasoning.selection.judge import Judged, judge
from seasoning.selection.objectives import Limit, SearchObjective, Term, accuracy_on, mean_over, union_over
from seasoning.selection.significance import (
    Comparison,
    Entry,
    best_probabilities,
    compare,
    regret_curve,
    shown_best,
)


__all__ = [
    "Candidate",
    "Choice",
    "Comparison",
    "Entry",
    "Judged",
    "Limit",
    "SearchObjective",
    "Term",
    "accuracy_on",
    "best_probabilities",
    "choose",
    "compare",
    "judge",
    "mean_over",
    "pareto_front",
    "regret_curve",
    "require_comparable",
    "scope",
    "shown_best",
    "union_over",
]

"""Reports: everything a run can say, read from its store alone; no torch."""

from seasoning.report.contenders import Contender, contenders, known_choices, single_soup, union_soup, wanted
from seasoning.report.costs import Spent, spent
from seasoning.report.page import write_page
from seasoning.report.results import CLEAN, Results
from seasoning.report.tables import Row, Table, percent, points, shifts_table, spoken_weights, threats_table
from seasoning.report.verdicts import Difference, union_differences, verdict
from seasoning.report.write import write_report


__all__ = [
    "CLEAN",
    "Contender",
    "Difference",
    "Results",
    "Row",
    "Spent",
    "Table",
    "contenders",
    "known_choices",
    "percent",
    "points",
    "shifts_table",
    "single_soup",
    "spent",
    "spoken_weights",
    "threats_table",
    "union_differences",
    "union_soup",
    "verdict",
    "wanted",
    "write_page",
    "write_report",
]

"""Reports: everything a run can say, read from its store alone; no torch."""

from seasoning.report.contenders import Contender, Wanted, contenders, specific_soups, union_soup, wanted
from seasoning.report.page import write_page
from seasoning.report.results import CLEAN, Results
from seasoning.report.tables import Row, Table, shifts_table, threats_table
from seasoning.report.verdicts import comparisons, shift_verdict, verdict
from seasoning.report.write import write_report


__all__ = [
    "CLEAN",
    "Contender",
    "Results",
    "Row",
    "Table",
    "Wanted",
    "comparisons",
    "contenders",
    "shift_verdict",
    "shifts_table",
    "specific_soups",
    "threats_table",
    "union_soup",
    "verdict",
    "wanted",
    "write_page",
    "write_report",
]

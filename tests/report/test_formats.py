from seasoning.report import Row
from seasoning.report.formats import comma_separated, latex, markdown, terminal
from seasoning.report.tables import Grid, Table
from seasoning.statistics import Estimate


def table() -> Table:
    cells: list[Estimate | None] = [Estimate(0.5, 0.4, 0.6, 100), None]
    rows = [
        Row("one_a", 1, cells, best=(0,), group="first"),
        Row(
            "several", 3, [Estimate(0.25, 0.2, 0.3, 100), Estimate(0.3, 0.2, 0.4, 100)], one_model=False, group="first"
        ),
    ]
    return Table("Title", "A note, 95 %.", ["clean", "mean"], rows, "name")


def test_markdown_shows_value_interval_and_best() -> None:
    assert markdown(table()).splitlines() == [
        "**Title.** A note, 95 %.",
        "",
        "| model | # FP | clean | mean |",
        "| --- | ---: | ---: | ---: |",
        "| *first* |  |  |  |",
        "| one_a | ×1 | **50.0** [40.0, 60.0] | – |",
        "| several | ×3 | 25.0 [20.0, 30.0] | (30.0) [20.0, 40.0] |",
    ]


def test_names_with_bars_and_commas_stay_one_cell() -> None:
    named = table()._replace(columns=["a|b", "mean"])
    assert markdown(named).splitlines()[2] == "| model | # FP | a\\|b | mean |"
    grid = Grid("Title", "", ["soup", "count"], [["0.5 a,b + 0.5 c", "1,234,567"], ["1,2", "12"]], "name")
    assert comma_separated(grid).splitlines() == ["soup,count", '"0.5 a,b + 0.5 c",1234567', '"1,2",12']


def test_latex_escapes_and_uses_booktabs() -> None:
    text = latex(table())
    assert "\\toprule" in text
    assert "\\caption{Title. A note, 95 \\%.}" in text
    assert "\\textit{first}" in text
    assert "one\\_a & $\\times$1 & \\textbf{50.0} {\\scriptsize [40.0, 60.0]} & -- \\\\" in text
    assert text.count("{") == text.count("}")


def test_csv_has_a_line_for_every_number() -> None:
    assert comma_separated(table()).splitlines() == [
        "group,model,passes,column,value,low,high,n,one_model,best",
        "first,one_a,1,clean,0.5,0.4,0.6,100,1,1",
        "first,several,3,clean,0.25,0.2,0.3,100,1,0",
        "first,several,3,mean,0.3,0.2,0.4,100,0,0",
    ]


def test_the_terminal_has_the_interval_below() -> None:
    lines = terminal(table()).splitlines()
    assert lines[0] == "Title"
    assert lines[3].split() == ["one_a", "x1", "*50.0", "–"]
    assert lines[4].split() == ["40-60"]
    assert len({len(line) for line in lines[1:2] + lines[3:4]}) == 1

"""How many weights routers have: a section of the HTML report, report.md, tables.tex and the terminal, and router_weights.csv."""

from modbench.extend import DataTable, Estimate, Section, Table, number, text


def weights(loaded):
    """Return what the question finds: a result for each case. `loaded.cases` is `cases.csv` as a pandas table."""
    rows = loaded.cases[(loaded.cases.metric == "weights/routers") & (loaded.cases.status == "ok")]
    return [*rows.itertuples()]


TABLE = DataTable(
    "router_weights",
    "a case",
    (
        text("case_id", "the case", lambda row: row.case_id),
        text("variant", "its variant", lambda row: row.variant),
        number("value", "how many weights its routers have", lambda row: row.value),
    ),
    weights,
)


def section(loaded):
    """Return what is shown; nothing without results. Writers format the numbers, for each output in its way."""
    rows = [(row.variant, Estimate(row.value, kind="count")) for row in weights(loaded)]
    return [Table("weights of routers", ("variant", "weights"), rows)] if rows else []


SECTION = Section("How many weights do routers have?", order=60, span=12, render=section, told=True, tables=[TABLE])

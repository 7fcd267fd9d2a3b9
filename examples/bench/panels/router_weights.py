"""How many weights routers have: a section of the page, report.md, tables.tex and the terminal, and router_weights.csv."""

from modbench.reports.model import Estimate, Table
from modbench.reports.panel import Panel


def table(loaded):
    """Return the rows of router_weights.csv. `loaded.cases` is `cases.csv` as a pandas table."""
    rows = loaded.cases[(loaded.cases.metric == "weights/routers") & (loaded.cases.status == "ok")]
    return rows[["case_id", "arm", "value"]]


def render(loaded):
    """Return what is shown; nothing without rows. Writers format the numbers, for each output in its way."""
    rows = [(row.arm, Estimate(row.value, kind="count")) for row in table(loaded).itertuples()]
    return [Table("weights of routers", ("arm", "weights"), rows)] if rows else []


PANEL = Panel(
    title="How many weights do routers have?",
    order=60,
    span=12,
    render=render,
    told=True,
    tables={"router_weights": table},
)

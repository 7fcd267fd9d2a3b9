"""How many weights routers have: a sentence for each arm."""

from markupsafe import Markup

from modbench.reports.panel import Panel


def render(loaded):
    """`loaded.cases` is `cases.csv` as a pandas table. None: nothing to show."""
    rows = loaded.cases[(loaded.cases.metric == "weights/routers") & (loaded.cases.status == "ok")]
    if rows.empty:
        return None
    return Markup("<p>{}</p>").format(", ".join(f"{row.arm}: {row.value:,.0f}" for row in rows.itertuples()))


PANEL = Panel(title="How many weights do routers have?", order=60, span=12, render=render)

"""Lines: a text file with one line a value."""

from modbench.extend import Format


def files(loaded):
    """Return the text of each file by its name."""
    rows = loaded.cases[loaded.cases.status == "ok"].itertuples()
    return {"lines.txt": "".join(f"{row.case_id} {row.metric} {row.value:g}\n" for row in rows)}


FORMAT = Format(files)

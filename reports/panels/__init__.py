"""One file per panel: a pure function from a loaded run to HTML, with its template beside it."""

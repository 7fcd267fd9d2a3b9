"""One file per panel: a pure function from a loaded run to a fragment of the page."""

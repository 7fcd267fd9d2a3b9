"""One file per section of the report: the question that it alone answers, its blocks and figures, its template beside it."""

"""From records to rows: cases, comparisons, verdicts."""

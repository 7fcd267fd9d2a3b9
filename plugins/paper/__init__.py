"""Tables and figures of a report for a paper."""

"""Published numbers that `modbench verify` recomputes: one file per source, which exports a `SOURCE`.

A row exists only if the text of its source was open when it was written. Files whose names begin with _ hold what sources share.
"""

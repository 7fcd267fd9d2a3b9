"""Results of a run on disk: records, notes, the run folder."""

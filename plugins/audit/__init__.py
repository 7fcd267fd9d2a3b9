"""What a built model does, found by calling it: probes, one file each in `probes/`, and the audit report that they fill."""

"""What this machine can attain: the time of a call, predicted from its operators and measured peaks by shape; no torch."""

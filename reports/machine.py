"""The machine in words: its GPU, and the verdict of `modbench doctor`."""

from __future__ import annotations

from modbench.reports.load import Loaded


def gpu(loaded: Loaded) -> str:
    """Return the GPU that was measured, or why none was."""
    found = loaded.run.environment["gpu"]
    names = ", ".join(f"{device['name']} (driver {device['driver']})" for device in found["devices"])
    if loaded.run.plan.device == "cuda":
        drivers = {str(device["driver"]) for device in found["devices"]}
        return loaded.device_name + (f" (driver {', '.join(drivers)})" if drivers else " (not seen by NVML)")
    return f"not measured ({'CPU run; present: ' + names if names else found['reason']})"


GLYPHS = {"fit": "●", "undecided": "○", "doubtful": "⚠", "unfit": "✗"}


def machine_check(loaded: Loaded) -> tuple[str, str]:
    """Return the verdict on the machine, and the certificate in one line."""
    known = loaded.certificate
    if known is None:
        return "unknown", "○ machine check (A/A): not made; modbench doctor makes it"
    return known.verdict, f"{GLYPHS[known.verdict]} machine check (A/A): {known.in_words()}"

"""Looks again for what is there: in a test's process packages are installed and files written after the first look."""

from __future__ import annotations

from modbench.harness.registry import catalogue, plugin_manifests


def forget() -> None:
    """Forget plug-ins and their additions; those of a user's folder are imported anew."""
    for clear in plugin_manifests.CACHES:
        clear()
    catalogue._options_in.cache_clear()
    plugin_manifests._installed.cache_clear()
    plugin_manifests._unload("modbench_plugin_")

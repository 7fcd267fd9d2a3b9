"""The entry point `modbench` of pytest: loads the fixtures of the plug-in `pytest` where its folder is, and nothing else.

It is loaded at every start of pytest where modbench is installed. Fixtures are named here, not in the entry point: pytest takes
no module under two names, as with `-p modbench.plugins.pytest.fixtures`.
PYTEST_DONT_REWRITE: else it warns where this was imported before.
"""

from __future__ import annotations

from importlib.util import find_spec

FIXTURES = "modbench.plugins.pytest.fixtures"
pytest_plugins = [FIXTURES] if find_spec("modbench.plugins") and find_spec("modbench.plugins.pytest") else []

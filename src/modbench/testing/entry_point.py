"""The entry point `modbench` of pytest: loads the plug-in once, also after `-p modbench.pytest_plugin`.

An entry point that names the plug-in itself would be refused then: pytest takes no module under two names.
PYTEST_DONT_REWRITE: else it warns where this was imported before.
"""

pytest_plugins = ["modbench.pytest_plugin"]

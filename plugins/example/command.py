"""`modbench hello`."""

from modbench.extend import command, say


@command(group="Look up")
def hello():
    """Say hello."""
    say("hello from a plug-in")

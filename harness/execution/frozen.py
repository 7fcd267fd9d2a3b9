"""The last module that the fork server loads: what was loaded before it is left out of garbage collection in its units.

A collection writes to every object that it looks at, so that a fork copies the memory of all that its server has loaded.
"""

import gc

gc.freeze()

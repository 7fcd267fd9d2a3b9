"""The last module that the fork server loads: what was loaded before it is left out of garbage collection in its units.

A collection writes to every object that it looks at, so that a fork copies the memory of all that its server has loaded.
"""

import atexit
import gc

gc.freeze()
# Where all this still lives at the server's end, a library may call it leaks: triton 3.9 (torch 2.15) printed thirty lines
# below the path of the report.
atexit.register(gc.unfreeze)

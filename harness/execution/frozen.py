"""The last module that the fork server loads: what was loaded before it is left out of garbage collection in its units.

A collection writes to every object that it looks at, so that a fork copies the memory of all that its server has loaded.
"""

import atexit
import gc

gc.freeze()
# A server that ends with all this alive is told of leaks by libraries that look for them: triton 3.9 (torch 2.15) prints thirty lines
# below the report's path.
atexit.register(gc.unfreeze)

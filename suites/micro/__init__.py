"""Single components under pytest-benchmark: what a router, a block, a decode step and the cost model take on one thread.

From the root of a checkout, where pytest's options keep the plugin out of the tests:

    pytest suites/micro -p benchmark

`--benchmark-json OUT.json` keeps the samples with each benchmark's `extra_info`: its shape and what one call costs, as
`flops` (1 multiply-add = 2) or as `bytes` (every operand read once, every result written once). `-k decode` picks some,
`--benchmark-disable` runs each once and untimed. From an installed package: `pytest --pyargs modbench.suites.micro`.

These are for finding where time goes. Medians of one process say nothing about other launches: claims about speed come
from `modbench run`. Nothing imports this folder, so it alone of the suites may load torch and the models.
"""

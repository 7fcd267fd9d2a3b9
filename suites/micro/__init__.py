"""Single components under pytest-benchmark: time of a router, a block, a decode step and the cost model on one thread.

From the root of a checkout `pytest suites/micro`; from any folder, a checkout or an installed package:

    pytest --pyargs modbench.suites.micro

`--benchmark-json OUT.json` keeps the samples with each benchmark's `extra_info`: its shape and the cost of one call, as
`flops` (1 multiply-add = 2) or as `bytes` (every operand read once, every result written once). `-k decode` selects some,
`--benchmark-disable` runs each once without timing, and `--benchmark-timer=modbench.plugins.pytest.timer.wall_s` waits for a GPU.

These show where time goes. Medians of one process do not describe other processes: for claims about speed use
`modbench run`. Nothing imports this folder, so it may load torch and the models, unlike the rest of the suites.
"""

"""What routers do on held-out text after training: which tokens pass, which profit, and whether the gate's scores predict it.

Works on any module with `observe(tokens_BT)` that returns the logits and the decisions of every router (`collect.py`), in more
ways if `observe` takes `causal` and `flip_LBT`; nothing here knows a model by name. All results are plain data for JSON.
"""

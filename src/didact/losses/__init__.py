"""The formulas of the papers: pure functions, tensors in, a `Term` (a sum and a count) out.

Import each from its module, as in `from didact.losses.classes.divergence import forward_kl`.
"""

"""A config in, a directory out: `jaxbandit run`, `sweep` and `compare`.

What runs inside the compiled program lives in `simulation`; how results look lives in `reporting`.
"""

"""The simulation: one round, many lanes in one compiled program, and the chunks in which they run to their end.

It takes environments and agents as pure functions; it knows none of them by name, and writes no results.
"""

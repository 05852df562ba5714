"""One compiled program: a round, lanes side by side, and the chunks in which they run to their end.

It takes environments and agents as pure functions; it names none of them, and writes no results.
"""

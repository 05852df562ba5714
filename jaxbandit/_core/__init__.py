"""Plumbing that knows no bandits: errors, files, processes, signals, memory, random words, signatures of factories.

Nothing here imports another room; what speaks of arms, agents or runs lives above.
"""

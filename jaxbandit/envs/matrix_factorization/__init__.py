"""Worlds made of ratings: `mf` and `mf-per-arm`, their settings, tables, rewards and drift.

How ratings are read and factorised lives in `data`.
"""

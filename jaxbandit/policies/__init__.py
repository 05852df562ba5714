"""A trained agent outside its run, where it acts and learns no more: exported, loaded again, evaluated on a log.

Agents themselves live in `agents`; running and training them lives in `experiments`.
"""

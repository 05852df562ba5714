"""A trained agent outside its run: loaded, exported, judged on a log.

Agents themselves live in `agents`; running and training them lives in `experiments`.
"""

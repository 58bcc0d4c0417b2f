"""The ``cubicweb-ctl leak-…`` commands: one module a command, named after it.

Nothing heavy is imported before a command runs: ``cubicweb-ctl`` loads them all for each of its own commands.
"""

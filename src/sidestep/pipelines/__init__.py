"""Pipelines: from a user's files to recommendations, as steps that are done again after a change.

A pipeline is made of commands. This package knows no command line: `sidestep run` gives it the
commands, and shows what it tells.
"""

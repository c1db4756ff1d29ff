"""Kinds of run: one file each, with its configuration and the plan that it makes."""

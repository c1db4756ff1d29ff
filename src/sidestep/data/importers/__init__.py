"""Importers: turn other formats into a `Dataset`. Errors name the line that is wrong."""

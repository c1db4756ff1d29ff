"""Importers: other formats in, a `Dataset` out, or an error that says which line is wrong."""

"""Searches over the catalog's trie, guided by a model they know only by its steps."""

"""Catalog: items, their semantic IDs, and the trie of all legal prefixes."""

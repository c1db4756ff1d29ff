"""Networks: histories and nodes in, logits and states out. Knows no tree and no trie."""

"""Value-guided decoding of one user in plain Python: slow, sequential, and easy to check."""

import math
from dataclasses import dataclass, field

import torch

from sidestep.search.noise import edge_gumbels, user_keys
from sidestep.step import normalised


@dataclass
class Node:
    """A prefix in the tree; `untried` holds log π of the codes that have no child yet."""

    prefix: tuple
    log_prob: float
    value: float
    entropy: float
    untried: dict
    children: list = field(default_factory=list)
    visits: int = 0


class Reference:
    """Reference that grows one user's tree: one traversal, or several, between two calls."""

    def __init__(self, policy, model, history, trie, *, tokens):
        self.policy, self.model, self.trie = policy, model, trie
        self.levels = trie.num_levels
        self.key = user_keys(history, policy.seed)
        self.step, self.context = model.encode(history, capacity=tokens + 1)
        self.slots, self.states = {(): 0}, {(): 0}
        self.traversals = self.begun = 0
        self.waiting, self.tokens = [], tokens - 1
        self.root = self.node((), 0.0)
        self.created = [self.root]
        self.warm_up()
        if policy.paths_per_round == 1:
            self.grow_in_sequence()
        else:
            self.grow_in_rounds()

    def grow_in_sequence(self):
        """Grows as published: the children of a traversal are made before the next traversal."""
        while self.tokens and self.leads(self.root):
            self.begun = self.traversals
            for parent in self.traverse()[: self.tokens]:
                self.expand(parent, self.draw(parent))
                self.tokens -= 1

    def grow_in_rounds(self):
        """Grows by rounds of traversals: their children are paid for first, and made afterwards."""
        at_once = self.policy.paths_per_round
        while self.waiting or (self.tokens and self.leads(self.root)):
            self.begun, before = self.traversals, len(self.waiting)
            affordable = before + self.tokens
            while len(self.waiting) < min(at_once, affordable) and self.leads(self.root):
                self.waiting += self.traverse()
            del self.waiting[affordable:]
            self.tokens -= len(self.waiting) - before
            for _ in self.waiting[:at_once]:
                parent = self.waiting.pop(0)
                self.expand(parent, self.draw(parent))

    def node(self, prefix, log_prob):
        """Makes a node from the last output of the model."""
        legal = self.trie.legal(torch.tensor([[self.states[prefix]]]))[0, 0]
        codes = legal.nonzero().flatten().tolist()
        logs = normalised(self.step.logits[0, 0].masked_fill(~legal, -torch.inf)).tolist()
        entropy = -sum(math.exp(logs[code]) * logs[code] for code in codes)
        if self.policy.normaliser == "codebook":  # for reported log-probabilities, not the entropy
            logs = normalised(self.step.logits[0, 0]).tolist()
        untried = {code: logs[code] for code in codes}
        return Node(prefix, log_prob, float(self.step.value[0, 0]), entropy, untried)

    def expand(self, parent, code):
        """Makes a child, which costs one token."""
        prefix = (*parent.prefix, code)
        log_prob = parent.log_prob + parent.untried.pop(code)
        parents = torch.tensor([[self.slots[parent.prefix]]])
        codes, depth = torch.tensor([[code]]), torch.tensor([[len(prefix)]])
        is_node = torch.tensor([[True]])
        self.step, self.context = self.model.extend(
            self.context, codes, parents, depth, is_node=is_node
        )
        state = self.trie.child(torch.tensor([[self.states[parent.prefix]]]), codes)
        self.slots[prefix], self.states[prefix] = len(self.slots), int(state)
        child = self.node(prefix, log_prob)
        parent.children.append(child)
        self.created.append(child)

    def warm_up(self):
        beams = [self.root]
        for _ in range(self.levels):
            longer = [
                (node.log_prob + log, node, code)
                for node in beams
                for code, log in node.untried.items()
            ]
            longer = sorted(longer, key=lambda found: -found[0])[: self.policy.warm_width]
            first = len(self.created)
            for _, node, code in longer:
                self.expand(node, code)
                self.tokens -= 1
            beams = self.created[first:]

    def priority(self, node):
        value = node.value
        if not node.prefix:
            value = self.policy.gamma * mean([child.value for child in node.children])
        return self.policy.value_weight * value + self.policy.entropy_weight * node.entropy

    def margin(self, node):
        at = len(node.prefix)
        if not at:
            if self.policy.root_gate != "priority":
                return math.inf if self.policy.root_gate == "always" else -math.inf
            at = 1
        peers = [self.priority(other) for other in self.created if len(other.prefix) == at]
        return self.priority(node) - mean(peers)

    def is_open(self, node):
        return len(node.untried) > sum(parent is node for parent in self.waiting)

    def leads(self, node):
        return self.is_open(node) or any(map(self.leads, node.children))

    def bound(self, node):
        doubt = math.sqrt(math.log(self.begun + 1) / (node.visits + 1))
        return self.priority(node) + self.policy.exploration * doubt

    def traverse(self):
        """Parents of the children of one traversal, the deepest first."""
        path = [self.root]
        while ways := [child for child in path[-1].children if self.leads(child)]:
            path.append(max(ways, key=self.bound))
        for node in path:
            node.visits += 1
        self.traversals += 1
        is_open = [node for node in reversed(path) if self.is_open(node)]
        passing = [node for node in is_open if self.margin(node) >= 0]
        return passing or [max(is_open, key=self.margin)]

    def draw(self, node):
        state = torch.tensor([[self.states[node.prefix]]])
        noise = edge_gumbels(self.key, state, max(self.trie.codebook_sizes))[0, 0].tolist()
        return max(node.untried, key=lambda code: node.untried[code] + noise[code])

    def answer(self):
        """The best leaves by value, then completed leaves."""
        leaves = [node for node in self.created if len(node.prefix) == self.levels]
        best = [node.prefix for node in sorted(leaves, key=lambda node: -node.value)]
        above = [node for node in self.created if len(node.prefix) == self.levels - 1]
        for node in sorted(above, key=lambda node: -node.value):
            likely = sorted(node.untried, key=lambda code: -node.untried[code])
            best += [(*node.prefix, code) for code in likely]
        return best[: self.policy.num_leaves]


def mean(values):
    return sum(values) / len(values) if values else 0.0

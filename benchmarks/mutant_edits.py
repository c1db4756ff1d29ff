"""Mutants: single changes of a source file that a test should notice, made from its syntax tree.

A mutant turns a comparison, swaps plus and minus, moves a number by one, drops a `not`, a mask or a
statement, or takes `min` for `max`. Docstrings, messages, annotations, imports, assertions and
raised errors are not changed, because tests do not check their values. Some mutants are no faults,
because the change makes no difference. So a reader must judge the mutants that survive.
`mutants.py` runs the mutants.
"""

import ast
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ("<", ("<=",)),
    ast.LtE: ("<=", ("<",)),
    ast.Gt: (">", (">=",)),
    ast.GtE: (">=", (">",)),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
}

ARITHMETIC = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
}

OTHER_CALLS = {
    one: other
    for pair in (
        ("min", "max"),
        ("amin", "amax"),
        ("argmin", "argmax"),
        ("minimum", "maximum"),
        ("any", "all"),
        ("sum", "mean"),
        ("zeros", "ones"),
        ("zeros_like", "ones_like"),
        ("floor", "ceil"),
        ("log", "log1p"),
    )
    for one, other in (pair, pair[::-1])
}
"""Functions and methods with the functions that replace them: same arguments, other result."""

TRANSPARENT = frozenset({"masked_fill", "masked_fill_", "clamp", "clamp_", "abs", "square", "sqrt"})
"""Methods that do not change the shape of an array, so that a mutant can leave them out."""

OTHER_DIMS = {0: 1, 1: 0, 2: 1, 3: 2}

DIMS = frozenset({"dim", "axis"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one file.

    path: path of the file.
    line: line in which the change begins, from 1.
    column: place in the line at which the change begins, in bytes from 0.
    end: place in the file at which the replaced text ends, in bytes.
    start: place in the file at which the replaced text begins, in bytes.
    kind: kind of the change.
    before, after: the replaced text, and the text that replaces it.
    """

    path: str
    line: int
    column: int
    start: int
    end: int
    kind: str
    before: str
    after: str

    @property
    def name(self) -> str:
        """Name of the mutant, unique among the mutants of the same source."""
        before, after = (" ".join(text.split()) for text in (self.before, self.after))
        return f"{self.path}:{self.line}:{self.column}: {self.kind}: {before} -> {after}"

    def applied(self, source: bytes) -> bytes:
        """Applies the change to the source of the file."""
        assert source[self.start : self.end] == self.before.encode(), "made from another source"
        return source[: self.start] + self.after.encode() + source[self.end :]


def mutants_of(path: str, source: bytes, optional: frozenset[str]) -> list[Mutant]:
    """Makes every mutant of a file once. `is_another_program` tells which are worth a run.

    Args:
        path: path of the file.
        source: text of the file in UTF-8.
        optional: keyword arguments that may be left out, see `optional_arguments`.
    """
    found = _Edits(path, source, optional).below(ast.parse(source))
    return list({mutant.name: mutant for mutant in found}.values())


def optional_arguments(sources: Iterable[bytes]) -> frozenset[str]:
    """Names of arguments for which some function or dataclass has a default."""
    names = {"keepdim", "descending", "stable", "dim"}
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                ordered = node.args.args[len(node.args.args) - len(node.args.defaults) :]
                names |= {one.arg for one in ordered}
                named = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
                names |= {one.arg for one, default in named if default is not None}
            elif isinstance(node, ast.ClassDef):
                fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and one.value]
                names |= {one.target.id for one in fields if isinstance(one.target, ast.Name)}
    return frozenset(names)


def is_another_program(mutant: Mutant, source: bytes) -> bool:
    """Tells whether a changed file is still Python, and differs from the original as a program."""
    try:
        return ast.dump(ast.parse(mutant.applied(source))) != ast.dump(ast.parse(source))
    except SyntaxError:
        return False


class _Edits:
    """The changes of one file, node by node."""

    def __init__(self, path: str, source: bytes, optional: frozenset[str]) -> None:
        self.path, self.source, self.optional = path, source, optional
        lengths = [len(line) for line in source.splitlines(keepends=True)]
        self.starts = [0, *itertools.accumulate(lengths)]

    def below(self, node: ast.AST) -> Iterator[Mutant]:
        """Changes of a node and its parts, without parts whose values tests do not check."""
        if _is_left_alone(node):
            return
        yield from self.at(node)
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "decorator_list", "bases", "type_params"}:
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from self.below(child)

    def at(self, node: ast.AST) -> Iterator[Mutant]:
        """Changes of the node itself."""
        match node:
            case ast.Compare():
                yield from self._comparison(node)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC:
                if not _is_text(left):
                    before, after = ARITHMETIC[type(op)]
                    yield from self._between(left, right, before, (after,), "operator")
            case ast.AugAssign(target=target, op=op, value=value):
                if type(op) in ARITHMETIC:
                    before, after = ARITHMETIC[type(op)]
                    yield from self._between(target, value, f"{before}=", (f"{after}=",), "assign")
                yield self._edit(node, "pass", "removed")
            case ast.BoolOp(op=op, values=values):
                before, after = ("and", "or") if isinstance(op, ast.And) else ("or", "and")
                for left, right in itertools.pairwise(values):
                    yield from self._between(left, right, before, (after,), "boolean")
            case ast.UnaryOp(op=ast.Not() | ast.Invert() | ast.USub(), operand=operand):
                yield self._edit(node, self._text(operand), "dropped")
            case ast.Constant():
                yield from self._constant(node)
            case ast.Expr(value=ast.Call(func=func)) if "super()" not in self._text(func):
                yield self._edit(node, "pass", "removed")
            case ast.Assign(targets=[ast.Subscript()]):
                yield self._edit(node, "pass", "removed")
            case ast.Call():
                yield from self._call(node)
            case ast.If(test=test) | ast.IfExp(test=test):
                if isinstance(test, (ast.Name, ast.Attribute, ast.Call)):
                    yield self._edit(test, f"not ({self._text(test)})", "turned")

    def _comparison(self, node: ast.Compare) -> Iterator[Mutant]:
        sides = [node.left, *node.comparators]
        for (left, right), op in zip(itertools.pairwise(sides), node.ops, strict=True):
            before, after = COMPARISONS[type(op)]
            yield from self._between(left, right, before, after, "comparison")

    def _constant(self, node: ast.Constant) -> Iterator[Mutant]:
        value = node.value
        if isinstance(value, bool):
            yield self._edit(node, str(not value), "truth")
        elif isinstance(value, int):
            for other in (value + 1, value - 1) if value > 0 else (value + 1,):
                yield self._edit(node, str(other), "number")
        elif isinstance(value, float):
            yield self._edit(node, repr(value * 2 if value else 1.0), "number")

    def _call(self, node: ast.Call) -> Iterator[Mutant]:
        func = node.func
        name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
        if name in OTHER_CALLS:
            end = self._end(func)
            yield self._replaced(end - len(name), end, OTHER_CALLS[name], "call")
        if name in TRANSPARENT and isinstance(func, ast.Attribute):
            yield self._edit(node, self._text(func.value), "dropped")
        if name == "where" and len(node.args) == 3:
            for chosen in node.args[1:]:
                yield self._edit(node, self._text(chosen), "chosen")
        for place, keyword in enumerate(node.keywords):
            if keyword.arg in DIMS and isinstance(keyword.value, ast.Constant):
                other = OTHER_DIMS.get(keyword.value.value)
                if other is not None:
                    yield self._edit(keyword.value, str(other), "dim")
            if keyword.arg in self.optional:
                before = [*node.args, *node.keywords][len(node.args) + place - 1 :: -1][:1]
                is_first = len(node.args) + place == 0
                start = self._start(keyword) if is_first else self._end(before[0])
                yield self._replaced(start, self._end(keyword), "", "argument")

    def _between(
        self, left: ast.AST, right: ast.AST, before: str, after: tuple[str, ...], kind: str
    ) -> Iterator[Mutant]:
        """Changes of an operator between two nodes."""
        start = self._end(left)
        place = self.source[start : self._start(right)].find(before.encode())
        if place >= 0:
            for other in after:
                yield self._replaced(start + place, start + place + len(before), other, kind)

    def _edit(self, node: ast.AST, after: str, kind: str) -> Mutant:
        return self._replaced(self._start(node), self._end(node), after, kind)

    def _replaced(self, start: int, end: int, after: str, kind: str) -> Mutant:
        line = next(n for n, begin in enumerate(self.starts) if begin > start)
        return Mutant(
            path=self.path,
            line=line,
            column=start - self.starts[line - 1],
            start=start,
            end=end,
            kind=kind,
            before=self.source[start:end].decode(),
            after=after,
        )

    def _start(self, node: ast.AST) -> int:
        place: int = self.starts[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
        return place

    def _end(self, node: ast.AST) -> int:
        place: int = self.starts[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
        return place

    def _text(self, node: ast.AST) -> str:
        return self.source[self._start(node) : self._end(node)].decode()


def _is_left_alone(node: ast.AST) -> bool:
    """Tells whether a node is not changed: a message, import, assertion, alias or docstring."""
    match node:
        case ast.Raise() | ast.Assert() | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(value=ast.Subscript(value=ast.Name(id=name))):
            return name in {"Callable", "Literal", "Mapping", "Sequence", "Annotated"}
        case ast.Call(func=ast.Name(id=name)):
            return name in {"TypeVar", "say", "warn"}
    return False


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )

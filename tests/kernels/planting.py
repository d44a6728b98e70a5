"""A small fault, found by the tree of the function that holds it, whatever the layout of the text."""

import ast
from typing import NamedTuple

Node = ast.expr | ast.stmt


class Fault(NamedTuple):
    """A fault to plant.

    Attributes:
        file: path in the repository.
        function: the function that holds it, by its qualified name.
        before: an expression or a simple statement that occurs exactly once in the function.
        after: what replaces it.
        tests: pytest node ids of the tests that should notice.
    """

    file: str
    function: str
    before: str
    after: str
    tests: tuple[str, ...]


def places(fault: Fault, tree: ast.AST) -> list[Node]:
    """The nodes of a file's tree that equal ``before``, in the function of that name."""
    wanted = ast.dump(_parsed(fault.before))
    inside = [node for function in _named(tree, fault.function.split(".")) for node in ast.walk(function)]
    return [node for node in inside if isinstance(node, Node) and ast.dump(node) == wanted]


def planted(fault: Fault, source: str) -> str:
    """A file's code with ``after`` in the only place of the fault; comments and layout are lost."""
    tree = ast.parse(source)
    (place,) = places(fault, tree)
    return ast.unparse(_Replacement(place, _parsed(fault.after)).visit(tree))


class _Replacement(ast.NodeTransformer):
    def __init__(self, before: ast.AST, after: ast.AST) -> None:
        self.before, self.after = before, after

    def visit(self, node: ast.AST) -> ast.AST:
        found: ast.AST = self.after if node is self.before else self.generic_visit(node)
        return found


def _parsed(code: str) -> Node:
    """What a piece of code is: an expression or a statement."""
    (statement,) = ast.parse(code).body
    return statement.value if isinstance(statement, ast.Expr) else statement


def _named(tree: ast.AST, path: list[str]) -> list[ast.AST]:
    """The functions or classes that a qualified name leads to."""
    if not path:
        return [tree]
    kinds = ast.FunctionDef | ast.ClassDef
    inner = [node for node in ast.iter_child_nodes(tree) if isinstance(node, kinds) and node.name == path[0]]
    return [found for node in inner for found in _named(node, path[1:])]

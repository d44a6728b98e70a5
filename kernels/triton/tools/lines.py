"""How often interpreted kernels run each of their lines."""

import ast
import builtins
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from triton.runtime import interpreter

from crosspt.kernels.tools.sass import Place

KERNELS = Path(__file__).parents[1]
Runs = dict[Place, Counter[tuple[Place, ...]]]
"""How often a program runs each line, by the lines that its function is called through, from the kernel on."""


class Counting(ast.NodeTransformer):
    """Has a function count the lines of each statement before it runs, and a loop those of its head in each turn."""

    def __init__(self, file: str) -> None:
        self.file = file

    def visit(self, node: ast.AST) -> Any:
        """The node, with what counts it in front."""
        node = self.generic_visit(node)
        if isinstance(node, ast.FunctionDef):
            counted: Any = ast.parse(f"with count_lines_of({self.file!r}) as lines_: pass").body[0]
            counted.body = node.body
            node.body = [counted]
        if not isinstance(node, ast.stmt) or isinstance(node, ast.FunctionDef):
            return node
        head: Any = getattr(node, "iter", getattr(node, "test", node))
        (count,) = ast.parse(f"lines_[{node.lineno}, {head.end_lineno}] += 1").body
        if isinstance(node, ast.For | ast.While):
            node.body.insert(0, count)
        return [count, node]


@contextmanager
def count_lines(runs: Sequence[Runs]) -> Iterator[None]:
    """Count the lines of kernels that are run into the last of ``runs``, by the lines that call their function."""
    running: list[tuple[str, tuple[Place, ...]]] = []  # files of functions, and what each is called through
    patched: set[int] = set()
    transform, patch_language = interpreter.FunctionRewriter._transform_ast, interpreter._patch_lang

    def counting(self: Any, source: str) -> ast.AST:
        tree, path = transform(self, source), Path(self.filename)
        return ast.fix_missing_locations(Counting(path.name).visit(tree)) if path.parent == KERNELS else tree

    @contextmanager
    def count_lines_of(file: str) -> Iterator[Counter[tuple[int, int]]]:
        called: tuple[Place, ...] = ()
        if running:
            caller, through = running[-1]
            called = (*through, (caller, sys._getframe(4).f_lineno))
        running.append((file, called))
        lines: Counter[tuple[int, int]] = Counter()
        yield lines
        running.pop()
        for (first, last), times in lines.items():
            for number in range(first, last + 1):
                runs[-1][file, number][called] += times

    def patch_once(function: Any) -> Any:
        """A kernel's functions would patch its language again in every call, which takes a third of the time."""
        if not running:
            patched.clear()
        elif id(function.__globals__) in patched:
            return None
        patched.add(id(function.__globals__))
        return patch_language(function)

    with (
        mock.patch.object(interpreter.FunctionRewriter, "_transform_ast", counting),
        mock.patch.dict(interpreter.InterpretedFunction.rewritten_fn, clear=True),
        mock.patch.object(interpreter, "_patch_lang", patch_once),
        mock.patch.object(builtins, "count_lines_of", count_lines_of, create=True),
    ):
        yield

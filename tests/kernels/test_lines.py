"""Lines of kernels as they are counted."""

import ast
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import dedent
from typing import Any

from crosspt.kernels.tools.lines import Counting


def test_statements_count_the_lines_that_they_span() -> None:
    source = """
    def half(n):
        total = 0
        for i in range(n):
            if i > 1:
                total += min(i,
                             2)
            else:
                total -= 1
        while total > 8:
            total = 8
        return total
    """
    counted: dict[str, Counter[tuple[int, int]]] = {}

    @contextmanager
    def count_lines_of(file: str) -> Iterator[Counter[tuple[int, int]]]:
        yield counted.setdefault(file, Counter())

    tree = ast.parse(dedent(source))
    names: dict[str, Any] = {"count_lines_of": count_lines_of}
    exec(compile(tree, "plain", "exec"), names)
    plain = names["half"](7)
    exec(compile(ast.fix_missing_locations(Counting("half.py").visit(tree)), "counted", "exec"), names)
    assert names["half"](7) == plain == 8
    lines = {(3, 3): 1, (4, 4): 8, (5, 5): 7, (6, 7): 5, (9, 9): 2, (10, 10): 1, (12, 12): 1}
    assert counted == {"half.py": lines}

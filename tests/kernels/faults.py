from typing import NamedTuple


class Fault(NamedTuple):
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


FAULTS: list[Fault] = []

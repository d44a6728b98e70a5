"""The operations that peers are compared at and counted for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.attention import ATTENTION_PEERS, make_attention_batch
from benchmarks.peers import PEERS
from benchmarks.providers import Peer
from benchmarks.shapes import make_batch


@dataclass(frozen=True)
class Operation:
    """An operation.

    Attributes:
        name: what tables call it.
        peers: the ways to do it, by name.
        make_batch: the batch of a shape on a device; its ``constant`` goes to :func:`benchmarks.providers.check`.
        plain: the peer that ratios are to, and whose arithmetic stands for that of compiled ones.
    """

    name: str
    peers: dict[str, Peer]
    make_batch: Callable[..., Any]
    plain: str


EMBEDDING = Operation("embedding", PEERS, make_batch, "literal")
ATTENTION = Operation("attention", ATTENTION_PEERS, make_attention_batch, "eager")

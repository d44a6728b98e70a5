"""The embedding operation: prompts composed and put in front of token embeddings."""

from collections.abc import Callable

import pytest

from benchmarks.peers import PEERS
from benchmarks.providers import Provider
from benchmarks.shapes import Shape
from benchmarks.timing import provider_work


@pytest.mark.parametrize("what", ["forward", "backward", "both"])
def test_embedding(timed: Callable[..., None], provider: Provider, peer: str, shape: Shape, what: str) -> None:
    """Wall time of one pass, or of both together."""
    if what != "forward" and not provider.parameters:
        pytest.skip("nothing to differentiate")
    timed(provider_work(provider, what), shape, peer=peer, operation="embedding", what=what, lacks=PEERS[peer].lacks)

import pytest

from benchmarks import floor
from benchmarks.counter import count_operations
from benchmarks.embedding import EMBEDDING, make_batch
from benchmarks.shapes import LEDGER, REFERENCE, TINY, Shape

PEERS = EMBEDDING.peers


def floors(shape: Shape) -> dict[str, int]:
    return floor.embedding_floors(floor.crosspt_traffic, shape)


def test_reference_shape() -> None:
    # forward: output, gathered rows, sources, private prompts, weight, bias, logits, input ids, task ids
    rows = 16 * 74 * 768 * 4 + 16 * 64 * 768 * 4
    parameters = 8 * 10 * 768 * 4 + 8 * 10 * 768 * 4 + 768 * 768 * 4 + 768 * 4 + 8 * 9 * 4
    assert floors(REFERENCE)["forward"] == rows + parameters + 16 * 64 * 8 + 16 * 8 == 9_645_472
    # backward: prompt rows of the output's gradient; every parameter read, every gradient written; task ids
    assert floors(REFERENCE)["backward"] == 16 * 10 * 768 * 4 + 2 * parameters + 16 * 8 == 6_200_000


def test_only_the_tasks_of_the_batch_are_read() -> None:
    few = Shape(B=2, L=3, m=5, d=7, n=4, T=2)
    many = few.moved(T=100)
    traffic, more = floor.crosspt_traffic(few), floor.crosspt_traffic(many)
    assert more.read == traffic.read
    assert more.gradients == traffic.gradients + 98 * (5 * 7 + 5)


def test_tokens_are_at_most_the_table() -> None:
    shape = Shape(B=8, L=8, m=1, d=4, V=10)
    assert PEERS["plain"].floors(shape) == {"forward": 4 * 4 * (10 + 64) + 8 * 64}


def test_half_precision_halves_what_is_not_an_index() -> None:
    indices = 8 * (16 * 64 + 16)
    half = floors(REFERENCE.moved(dtype="bfloat16"))["forward"] - indices
    assert 2 * half == floors(REFERENCE)["forward"] - indices


@pytest.mark.parametrize("shape", [TINY, *LEDGER], ids=str)
@pytest.mark.parametrize("name", [name for name in PEERS if name not in ("torch.compile", "triton")])
def test_no_peer_goes_below_its_floor(name: str, shape: Shape) -> None:
    if name.startswith("PEFT"):
        pytest.importorskip("peft")
    built, least = PEERS[name].build(make_batch(shape)), PEERS[name].floors(shape)
    with count_operations() as forward:
        output = built.forward()
    assert forward.unique_bytes >= least["forward"]
    if built.parameters:
        gradient = output.detach().clone()
        with count_operations() as backward:
            output.backward(gradient)
        assert backward.unique_bytes >= least["backward"]

"""Adapters with weights of a row's own: what they compute, and that every row of a batch keeps its own."""

import copy
import math
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutput

from crosspt import CrossPTConfig
from crosspt.methods import find_method
from crosspt.methods.hyperdecoder import mean_of_rows
from tests.conftest import make_t5

NAMES = ("hyperformer", "hyperdecoder")
TASKS = ["mrpc", "rte", "qnli"]
CONFIG = CrossPTConfig(tasks=TASKS)
TEXTS = [[5, 6, 7, 8, 1], [9, 1], [5, 6, 7, 8, 1], [30, 31, 1], [9, 1]]
TASK_IDS = [1, 0, 2, 1, 2]
ANSWERS = torch.tensor([[3, 1, -100], [4, 6, 1], [20, 1, -100]])
assert_close = partial(torch.testing.assert_close, rtol=1e-4, atol=2e-5)


def build(name: str, t5: Any, noise: float = 0.1, config: CrossPTConfig = CONFIG) -> Any:
    """A model in eval mode, all that it learns moved away from where it starts."""
    torch.manual_seed(0)
    model = find_method(name).build(t5, config).eval()
    with torch.no_grad():
        for parameter in model.learned().values():
            parameter.add_(torch.randn_like(parameter), alpha=noise)
    return model


def rows_of(side: str) -> tuple[Tensor, Tensor, Tensor]:
    """All texts, padded on a side with tokens that a mask must hide, their mask and their tasks."""
    longest = max(map(len, TEXTS))
    ids, mask = torch.full((len(TEXTS), longest), 40), torch.zeros(len(TEXTS), longest, dtype=torch.int64)
    for row, text in enumerate(TEXTS):
        where = slice(longest - len(text), None) if side == "left" else slice(len(text))
        ids[row, where], mask[row, where] = torch.tensor(text), 1
    return ids, mask, torch.tensor(TASK_IDS)


def alone(row: int) -> tuple[Tensor, None, Tensor]:
    return torch.tensor([TEXTS[row]]), None, torch.tensor([TASK_IDS[row]])


# The few-line definitions: a plain T5 is made to compute one row.
def define_hyperformer(t5: Any, known: dict[str, Tensor], row: int) -> None:
    width = t5.config.d_model
    for side, stack in (("encoder_network", t5.encoder), ("decoder_network", t5.decoder)):
        for layer, block in enumerate(stack.block):
            for position, module in enumerate((block.layer[0].SelfAttention, block.layer[-1].DenseReluDense)):

                def map_of(part: str, x: Tensor, side: str = side) -> Tensor:
                    return F.linear(x, known[f"{side}.{part}.weight"], known[f"{side}.{part}.bias"])

                tables = ((known["tasks.weight"], TASK_IDS[row]), (known[f"{side}.layers.weight"], layer),
                          (known[f"{side}.positions.weight"], position))  # fmt: skip
                z = torch.cat([table[number] for table, number in tables])
                z = map_of("project.2", map_of("project.0", z).relu())
                norm = (known[f"{side}.project.3.weight"], known[f"{side}.project.3.bias"])
                z = F.layer_norm(z, (64,), *norm, eps=1e-6)
                down, up = map_of("down", z).view(-1, width), map_of("up", z).view(width, -1)
                numbers = (
                    down,
                    map_of("down_bias", z),
                    up,
                    map_of("up_bias", z),
                    map_of("scale", z),
                    map_of("shift", z),
                )
                module.register_forward_hook(partial(through_hyperformer, numbers))


def through_hyperformer(numbers: tuple[Tensor, ...], _: Any, inputs: Any, output: Any) -> Any:
    down, down_bias, up, up_bias, scale, shift = numbers
    y = output[0] if isinstance(output, tuple) else output
    change = F.linear(ACT2FN["gelu_new"](F.linear(y, down, down_bias)), up, up_bias)
    y = y + F.layer_norm(change, (y.shape[-1],), scale, shift, eps=1e-5)
    return (y, *output[1:]) if isinstance(output, tuple) else y


def define_hyperdecoder(t5: Any, known: dict[str, Tensor], row: int) -> None:
    def map_of(part: str, x: Tensor) -> Tensor:
        return F.linear(x, known[f"{part}.weight"], known[f"{part}.bias"])

    for layer, block in enumerate(t5.encoder.block):
        name = f"base_model.encoder.block.{layer}.layer.1.adapter."
        numbers = [known[name + part] for part in ("down.weight", "down.bias", "up.weight", "up.bias")]
        block.layer[1].register_forward_hook(partial(through_hyperdecoder, numbers))
    width = t5.config.d_model
    mean = t5.encoder(torch.tensor([TEXTS[row]])).last_hidden_state[0].mean(dim=0)
    mean = map_of("network.mlp.2", map_of("network.mlp.0", mean).relu())
    for layer, block in enumerate(t5.decoder.block):
        h = map_of("network.hidden", torch.cat((mean, known["network.layers.weight"][layer]))).relu()
        down, up = map_of("network.down", h).view(width, 64).T, map_of("network.up", h).view(64, width).T
        numbers = [down, map_of("network.down_bias", h), up, map_of("network.up_bias", h)]
        block.layer[2].register_forward_hook(partial(through_hyperdecoder, numbers))


def through_hyperdecoder(numbers: list[Tensor], layer: Any, inputs: Any, output: Tensor) -> Tensor:
    down, down_bias, up, up_bias = numbers
    return output + F.linear(F.linear(layer.layer_norm(inputs[0]), down, down_bias).relu(), up, up_bias)


DEFINITIONS = {"hyperformer": define_hyperformer, "hyperdecoder": define_hyperdecoder}


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("noise", [0.0, 0.1], ids=["first", "moved"])
@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_a_batch_is_the_definition(name: str, noise: float, version: str, side: str) -> None:
    t5 = make_t5(version, num_decoder_layers=3)
    model = build(name, t5, noise)
    known = {key: value.detach() for key, value in model.learned().items()}
    labels = torch.arange(3, 3 + 3 * len(TEXTS)).view(-1, 3)
    ids, mask, tasks = rows_of(side)
    with torch.no_grad():
        found = model(ids, mask, tasks, labels=labels)
        wanted = []
        for row, text in enumerate(TEXTS):
            other = copy.deepcopy(t5)
            other.load_state_dict(
                {key.removeprefix("base_model."): value for key, value in known.items()}, strict=False
            )
            DEFINITIONS[name](other, known, row)
            wanted.append(other(input_ids=torch.tensor([text]), labels=labels[row : row + 1]).logits[0])
        assert_close(found.logits, torch.stack(wanted))
        assert_close(found.loss, F.cross_entropy(torch.cat(wanted), labels.flatten()))


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("name", NAMES)
def test_every_row_of_a_batch_is_that_row_alone(name: str, side: str) -> None:
    """Through forward, ranking, greedy generation, beams with several answers a row, and without a cache."""
    model = build(name, make_t5())
    batch = rows_of(side)
    many = {"num_beams": 3, "num_return_sequences": 2, "return_dict_in_generate": True, "output_scores": True}
    options = {"max_new_tokens": 5, "min_new_tokens": 5, "do_sample": False}
    with torch.no_grad():
        states, mask = model.encode(*batch)
        ranked = model.family.log_likelihoods(model.base_model, states, mask, ANSWERS)
        assert torch.equal(model.family.log_likelihoods(model.base_model, states, mask, ANSWERS), ranked), (
            "the first call changed the states"
        )
        greedy, beams = model.generate(*batch, **options), model.generate(*batch, **options, **many)
        again = model.base_model.generate(encoder_outputs=states, attention_mask=mask, use_cache=False, **options)
        logits = model(*batch, labels=ANSWERS[:1].clamp(min=0).repeat(len(TEXTS), 1)).logits
        for row in range(len(TEXTS)):
            one = alone(row)
            own = model(*one, labels=ANSWERS[:1].clamp(min=0)).logits
            assert_close(logits[row], own[0])
            own_states, own_mask = model.encode(*one)
            assert_close(ranked[row], model.family.log_likelihoods(model.base_model, own_states, own_mask, ANSWERS)[0])
            assert torch.equal(greedy[row], model.generate(*one, **options)[0])
            own_beams = model.generate(*one, **options, **many)
            assert torch.equal(beams.sequences[2 * row : 2 * row + 2], own_beams.sequences)
            assert_close(beams.sequences_scores[2 * row : 2 * row + 2], own_beams.sequences_scores)
    assert torch.equal(greedy, again)
    assert len({tuple(answer) for answer in beams.sequences.tolist()}) > 2, "the rows must differ for this to tell"


def test_the_task_decides_in_hyperformer_and_the_text_in_hyperdecoder() -> None:
    ids, mask, tasks = rows_of("right")
    other = (tasks + 1) % len(TASKS)
    for name in NAMES:
        model = build(name, make_t5())
        same = torch.equal(model(ids, mask, tasks, labels=ids).logits, model(ids, mask, other, labels=ids).logits)
        assert same == (name == "hyperdecoder")
        states, mask = model.encode(ids, mask, tasks)
        assert states.rows.tolist() == (TASK_IDS if name == "hyperformer" else list(range(len(TEXTS))))
    means = mean_of_rows(
        torch.tensor([[[1.0], [3.0], [math.nan]], [[5.0], [6.0], [7.0]]]), torch.tensor([[1, 2, 0], [0, 0, 0]])
    )
    assert means.tolist() == [[2.0], [0.0]]


def test_where_they_start() -> None:
    t5 = make_t5()
    network = build("hyperdecoder", t5, 0.0).network
    for made, fan_in in ((network.down, 16), (network.up, 64), (network.down_bias, 1), (network.up_bias, 1)):
        bound = 1e-3 * math.sqrt(3 / (128 * fan_in))
        assert 0.9 * bound < made.weight.abs().max() <= bound
        assert not made.bias.any()
    network = build("hyperformer", t5, 0.0).decoder_network
    deviation = torch.cat([part.weight.flatten() for part in (network.up, network.scale)]).std().item()
    assert math.isclose(deviation, 0.01, rel_tol=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_checkpointing_gives_the_same_gradients(name: str) -> None:
    ids, mask, tasks = rows_of("right")

    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        model = build(name, make_t5(dropout_rate=0.0)).train()
        if checkpointing:
            model.base_model.gradient_checkpointing_enable({"use_reentrant": False})
        loss = model(ids, mask, tasks, labels=ids).loss
        model(ids.flip(0), mask.flip(0), tasks.flip(0), labels=ids)  # rows that a second pass must not mix up with
        loss.backward()
        return {key: parameter.grad for key, parameter in model.learned().items()}

    wanted, found = gradients(False), gradients(True)
    for key, gradient in wanted.items():
        assert_close(found[key], gradient, msg=key)


@pytest.mark.parametrize("name", NAMES)
def test_reentrant_checkpointing_is_refused(name: str) -> None:
    model = build(name, make_t5()).train()
    model.base_model.gradient_checkpointing_enable({"use_reentrant": True})
    ids, mask, tasks = rows_of("right")
    with pytest.raises(RuntimeError, match=r"^Hyper\w+T5 needs gradient checkpointing with use_reentrant=False$"):
        model(ids, mask, tasks, labels=ids)


@pytest.mark.parametrize("implementation", ["eager", "crosspt_torch"])
@pytest.mark.parametrize("name", NAMES)
def test_other_attentions_give_the_same(name: str, implementation: str) -> None:
    t5 = make_t5()
    ids, mask, tasks = rows_of("right")
    wanted = build(name, t5)(ids, mask, tasks, labels=ids)
    t5.set_attn_implementation(implementation)
    t5(input_ids=ids, labels=ids)  # puts the hooks of an attention on
    assert_close(build(name, t5)(ids, mask, tasks, labels=ids).logits, wanted.logits)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_forward_gives_beside_logits(name: str) -> None:
    model = build(name, make_t5())
    ids, mask, tasks = rows_of("right")
    output = model(ids, mask, tasks, labels=ids, output_hidden_states=True)
    assert [len(output[kind]) for kind in ("encoder_hidden_states", "decoder_hidden_states")] == [3, 3]
    assert torch.equal(output.encoder_last_hidden_state, model.encode(ids, mask, tasks)[0].last_hidden_state)
    one = build(name, make_t5(), config=CrossPTConfig(tasks=["rte"]))
    assert torch.equal(one(ids, labels=ids).logits, one(ids, None, torch.zeros_like(tasks), labels=ids).logits)


@pytest.mark.parametrize("name", NAMES)
def test_a_t5_that_is_not_called_through_its_model(name: str) -> None:
    model = build(name, make_t5())
    ids, mask, tasks = rows_of("right")
    with pytest.raises(ValueError, match="T5: expected the output of the model's encode as encoder_outputs, got none"):
        model.base_model(input_ids=ids, attention_mask=mask, labels=ids)
    states, mask = model.encode(ids, mask, tasks)
    plain = BaseModelOutput(last_hidden_state=states.last_hidden_state)
    with pytest.raises(ValueError, match="T5: expected the output of the model's encode as encoder_outputs, got none"):
        model.base_model.generate(encoder_outputs=plain, attention_mask=mask)


def test_task_ids_that_do_not_fit() -> None:
    model = build("hyperformer", make_t5())
    ids, mask, _ = rows_of("right")
    with pytest.raises(ValueError, match=r"hyperformer: task_ids must say which of .* each row is, got None"):
        model.encode(ids, mask)
    for wrong, said in (([0, 1, 2, 3, 0], "from 0 to 3"), ([0, -1, 2, 1, 0], "from -1 to 2")):
        with pytest.raises(ValueError, match=rf"hyperformer: task_ids must lie in \[0, 3\), got values {said}"):
            model.encode(ids, mask, torch.tensor(wrong))
    with pytest.raises(ValueError, match=r"hyperformer: task_ids must be .* \(B,\) = \(5,\), got \(1,\)"):
        model.encode(ids, mask, torch.tensor([1]))

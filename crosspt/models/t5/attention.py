"""``attn_implementation="crosspt"``: T5's attention through ``crosspt.functional.attention``.

Importing this module registers three names with transformers and changes nothing else, but for ``stacks.py`` before
transformers 5.20: ``"crosspt"`` runs the Triton kernels on GPU tensors where they win, and PyTorch on others;
``"crosspt_torch"`` and ``"crosspt_triton"`` force one of them. They work for T5, mT5 and UMT5, frozen or not.

The operation takes the bias as a vector over the distance of key and query, and a mask (B, Lk). At the first call of
an attention of T5 or mT5 a hook is put on that one module, which hands it vectors from then on, so that nothing of
shape (Lq, Lk) is formed; :func:`use_attention` does so beforehand. Where there is no hook, as in UMT5 and in a model
that is compiled before it has run, the vector is read off transformers' bias. A table that learns gets its gradient
through the vector.
"""

import functools
from typing import Any

import torch
import transformers
from packaging import version
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache
from transformers.models.mt5.modeling_mt5 import MT5Attention
from transformers.models.t5.modeling_t5 import T5Attention
from transformers.models.umt5.modeling_umt5 import UMT5Attention

from crosspt.functional import BACKENDS, Backend, attention
from crosspt.models.t5.masks import blind_queries, padding_mask
from crosspt.models.t5.prefix import KeysAndValues, Prefix, Record
from crosspt.models.t5.stacks import reach_stacks

IMPLEMENTATIONS: dict[str, Backend] = {
    "crosspt" if backend == "auto" else f"crosspt_{backend}": backend for backend in BACKENDS
}
STACKS_ARE_REACHED = version.parse(transformers.__version__) >= version.parse("5.20")


def use_attention(t5: Any, implementation: str) -> None:
    """Set the attention of both stacks of a T5 or mT5, and hand its modules vectors of biases from the first call on.

    Args:
        t5: a ``T5ForConditionalGeneration``.
        implementation: one of ``IMPLEMENTATIONS``.
    """
    t5.set_attn_implementation(implementation)
    for module in t5.modules():
        _hand_vectors_to(module)


def attention_forward(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float = 1.0,
    position_bias: Tensor | None = None,
    prefix: Prefix | None = None,
    task_ids: Tensor | None = None,
    record: Record | None = None,
    backend: Backend = "auto",
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """What transformers calls for each attention of a T5.

    Args:
        module: a ``T5Attention``, ``MT5Attention`` or ``UMT5Attention``.
        query: (B, H, Lq, D).
        key: (B, H, Lk, D), with what a cache holds.
        value: (B, H, Lk, D).
        attention_mask: what :func:`crosspt.models.t5.masks.padding_mask` made.
        dropout: probability with which a weight is dropped.
        scaling: factor of the scores, 1 in every T5.
        position_bias: (H, Lq + m + Lk - 1), (1, H, Lq, Lk), or empty for none.
        prefix: keys and values of every task that encoder self-attention and cross-attention read as well.
        task_ids: (B,) int64, given with a prefix.
        record: where the keys and values are kept.
        backend: what the implementation's name says.
        kwargs: what transformers hands to every implementation.

    Returns:
        (B, Lq, H, D), and None in place of the weights. A query that sees no key gets the mean of all values, as with
        transformers' eager attention.

    Raises:
        TypeError: the module is not an attention of T5, mT5 or UMT5.
        ValueError: the mask has other dimensions, such as a custom one of four, or the weights are asked for.
    """
    _check(module, attention_mask, kwargs)
    if record is not None:
        record.layers.setdefault(module.layer_idx, KeysAndValues(key.contiguous(), value.contiguous()))
    if position_bias is not None and position_bias.dim() == 4:
        _hand_vectors_to(module)
    # Transformers 5.17 sets no is_causal in UMT5, but there only self-attention has a table.
    causal = module.is_causal or (module.is_decoder and module.has_relative_attention_bias)
    prefix_key, prefix_value = (None, None) if prefix is None or causal else prefix.of(module)
    queries, keys = query.shape[2], key.shape[2]
    if prefix is not None and isinstance(module, UMT5Attention) and not module.is_decoder:  # it knows of no prefix
        position_bias = module.compute_bias(queries, prefix.length() + keys, query.device, prefix.length())
    bias = None if module.is_decoder and not causal else _vector(position_bias)
    mask = attention_mask
    past: int | Tensor = keys - queries
    if causal and mask is not None and mask.dtype == torch.int64:
        past, mask = mask.amax() - 1, mask > 0
        later = torch.arange(1 - queries, keys, device=query.device) > past
        bias = (query.new_zeros(query.shape[1], 1) if bias is None else bias).masked_fill(later, float("-inf"))
    output = attention(
        query if scaling == 1 else query * scaling,
        key,
        value,
        bias,
        mask,
        prefix_key=prefix_key,
        prefix_value=prefix_value,
        task_ids=None if prefix_key is None else task_ids,
        causal=causal and queries > 1 and not isinstance(past, Tensor),
        dropout=dropout,
        backend=backend,
    )
    if attention_mask is not None and prefix_key is None:
        blind = blind_queries(attention_mask, queries if causal else None)
        if blind is not None:
            output = torch.where(blind, value.mean(dim=2)[:, None], output)
    return output, None


def relative_bias(module: Any, query_length: int, key_length: int, device: Any, past: int | Tensor = 0) -> Tensor:
    """The relative position bias as a vector.

    Args:
        module: the attention that holds the table of biases.
        query_length: Lq.
        key_length: Lk, all keys of a cache included.
        device: where the bias goes.
        past: keys that lie before the first query.

    Returns:
        (H, Lq + Lk - 1): the bias of key j for query i is at ``j - i + Lq - 1``. Rows for one query are a multiple of 8
        apart, as PyTorch's attention on a GPU takes them without a copy.
    """
    apart = key_length + (-key_length % 8 if query_length == 1 else 0)
    bucket = module._relative_position_bucket(
        torch.arange(1 - query_length, apart, device=device) - past,
        bidirectional=not module.is_decoder,
        num_buckets=module.relative_attention_num_buckets,
        max_distance=module.relative_attention_max_distance,
    )
    return module.relative_attention_bias(bucket).T.contiguous()[:, : query_length + key_length - 1]


class HandVector:
    """A forward pre-hook that gives an attention the vector of its bias, an empty one where it has no table.

    It does nothing under an implementation of transformers, nor where checkpointing repeats a call that came before it.
    """

    def __init__(self) -> None:
        self.called = False

    def __call__(
        self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """The arguments with a vector, or None to leave them as they are."""
        given = kwargs.get("position_bias") is not None or len(args) != 1
        if given or module.config._attn_implementation not in IMPLEMENTATIONS or self._is_early():
            return None
        hidden, past = args[0], 0
        if not module.has_relative_attention_bias:
            return args, {**kwargs, "position_bias": hidden.new_empty(0)}
        keys = queries = hidden.shape[1]
        for value in kwargs.values():  # its name differs between versions of transformers
            if isinstance(value, Cache):
                past = value.get_seq_length(module.layer_idx)
                keys, _ = value.get_mask_sizes(queries, module.layer_idx)
        prefix = kwargs.get("prefix")
        if prefix is not None and not module.is_decoder:
            past, keys = prefix.length(), prefix.length() + keys
        return args, {**kwargs, "position_bias": relative_bias(module, queries, keys, hidden.device, past)}

    def _is_early(self) -> bool:
        """Whether a backward repeats a call that was made without the hook."""
        if not self.called and not torch.compiler.is_compiling():
            self.called = torch._C._current_graph_task_id() == -1
            return not self.called
        return False


def _hand_vectors_to(module: nn.Module) -> None:
    """Put the hook on an attention that takes a bias, unless its calls are being recorded."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or not isinstance(module, T5Attention | MT5Attention):
        return
    if not any(isinstance(hook, HandVector) for hook in module._forward_pre_hooks.values()):
        module.register_forward_pre_hook(HandVector(), with_kwargs=True)


def _check(module: Any, mask: Tensor | None, kwargs: dict[str, Any]) -> None:
    """Raise unless the operation can do what is asked for."""
    if not isinstance(module, (T5Attention, MT5Attention, UMT5Attention)):  # PyTorch 2.10 traces no union of types
        raise TypeError(
            f"attn_implementation crosspt: expected the attention of a T5, mT5 or UMT5, got {type(module).__name__}"
        )
    if mask is not None and mask.dim() != 2:
        raise ValueError(
            "attn_implementation crosspt: attention masks must have shape (B, L), one value a token, "
            f"got {tuple(mask.shape)}; use attn_implementation eager or sdpa for others"
        )
    # A configuration is slow to read, and all layers of a stack have the same.
    if kwargs.get("output_attentions") or (not module.layer_idx and getattr(module.config, "output_attentions", False)):
        raise ValueError(
            "attn_implementation crosspt: weights are never formed, so output_attentions must be False, got True; "
            "use attn_implementation eager"
        )


def _vector(bias: Tensor | None) -> Tensor | None:
    """The vector (H, Lq + m + Lk - 1) of a bias that transformers or :class:`HandVector` made, or None for none."""
    if bias is None or bias.dim() == 1:
        return None
    if bias.dim() == 2:
        return bias
    distance = torch.arange(1 - bias.shape[2], bias.shape[3], device=bias.device)
    return bias[0][:, (-distance).clamp(min=0), distance.clamp(min=0)]


for _implementation, _backend in IMPLEMENTATIONS.items():
    AttentionInterface.register(_implementation, functools.partial(attention_forward, backend=_backend))
    AttentionMaskInterface.register(_implementation, padding_mask)
if not STACKS_ARE_REACHED:
    reach_stacks(set(IMPLEMENTATIONS))

"""The public operations of CrossPT.

Symbols: B batch, L input tokens, m prompt length, d model width, V vocabulary, n source prompts, T target tasks, N
candidates a task mixes (n, plus 1 when it has a private prompt), H heads, D width of a head. Every function checks its
arguments once and raises ``ValueError``, ``TypeError`` or ``RuntimeError`` with the operation, what was expected and
what came. Ids out of range raise on CPU tensors.
"""

import torch
from torch import Tensor

from crosspt.functional import known, operators, torch_attention, torch_composition
from crosspt.functional.routing import BACKENDS as BACKENDS
from crosspt.functional.routing import Backend as Backend
from crosspt.functional.routing import runs_triton, suits_attention, suits_composition
from crosspt.functional.validation import (
    check_attention,
    check_batch,
    check_floating,
    check_gain,
    check_mixture,
    check_offsets,
    check_rows,
    check_weights,
)
from crosspt.kernels.mixture import Mixture


def mixing_weights(logits: Tensor, temperature: float = 1.0, mask: Tensor | None = None) -> Tensor:
    """Temperature softmax ``alpha_tj = exp(A_tj / tau) / sum_k exp(A_tk / tau)`` over the candidates a task may use.

    Args:
        logits: A (T, N), one row a task; sources first, the private prompt last.
        temperature: tau, positive and finite.
        mask: (T, N) bool, True where the candidate may be used; others get weight exactly 0. A row without any raises
            on CPU; on a GPU its weights and gradients are zero.

    Returns:
        alpha (T, N) in the dtype of ``logits``.
    """
    check_weights("mixing_weights", logits, temperature, mask)
    return torch_composition.mixing_weights(logits, temperature, mask)


def compose_prompts(
    logits: Tensor | None,
    sources: Tensor | None,
    privates: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    alpha: Tensor | None = None,
    row_alpha: Tensor | None = None,
    added: Tensor | None = None,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    encode_sources: bool = True,
    encode_privates: bool = True,
    task_ids: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Equation 1 with a linear encoder.

    ``P_t = sum_enc alpha_tj S_j + W (sum_raw alpha_tj E_j) + (sum_raw alpha_tj) b + added_t``, where the raw prompts
    are those that go through the encoder. The weights alpha are the softmax of logits, or given: one of ``logits``,
    ``alpha`` and ``row_alpha``.

    Args:
        logits: A (T, N), sources first, the private prompt last; or None.
        sources: shared prompts (n, m, d), or None.
        privates: one prompt a task (T, m, d), or None. Sources or privates must be given.
        weight: W (d, d) of the encoder, or None: no prompt is encoded.
        bias: b (d,), or None.
        alpha: weights (T, N) in place of a softmax, any numbers; without temperature and mask.
        row_alpha: weights (B, N) of the rows of a batch, in place of the tasks', such as ATTEMPT's (Asai et al., 2022).
        added: a prompt of each task (T, m, d) that is added to its mix, with no weight and past the encoder, such as
            ATTEMPT's target prompt.
        temperature: tau, positive and finite.
        mask: (T, N) bool, True where the candidate may be used; see :func:`mixing_weights`.
        encode_sources: False when the sources are encoded already and bypass W and b.
        encode_privates: the same for the private prompts.
        task_ids: (B,) int64 or int32 in [0, T), with ``row_alpha`` beside private or added prompts: whose prompts each
            row takes.
        backend: ``"auto"`` (Triton on GPUs that its kernels run on, unless they lose: large compositions beside a
            table of float32 or float64, and where torch.compile traces all of these and more than 32 sources; else
            torch), ``"torch"`` or ``"triton"``; a forced backend that cannot run raises.

    Returns:
        P (T, m, d), or, with ``row_alpha``, (B, m, d), in the dtype that the floating-point arguments promote to.
    """
    mixture = Mixture(
        logits, sources, privates, weight, bias, alpha, row_alpha, added,
        temperature, mask, encode_sources, encode_privates,
    )  # fmt: skip
    check_mixture("compose_prompts", mixture)
    task_ids = check_rows("compose_prompts", mixture, task_ids)
    mixture = mixture.promoted()
    weights = mixture.weights()
    suits = suits_composition(mixture, weights.dtype, compiled=torch.compiler.is_compiling())
    if not runs_triton("compose_prompts", backend, weights, suits):
        return torch_composition.compose_prompts(mixture, task_ids)
    if row_alpha is None:
        return operators.compose_prompts(*mixture)
    if task_ids is None:  # no prompt is a task's, so a row is like a task
        return operators.compose_prompts(*mixture._replace(alpha=weights, row_alpha=None))
    no_tokens, no_table = task_ids.new_empty(len(task_ids), 0), weights.new_empty(0, mixture.prompts().shape[2])
    return operators.prompted_embedding(no_tokens, task_ids, no_table, *mixture)


def prepend_prompts(
    prompts: Tensor,
    task_ids: Tensor,
    input_ids: Tensor,
    table: Tensor,
    *,
    offsets: Tensor | None = None,
    gain: tuple[Tensor, Tensor] | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """Put each row's task prompt in front of its token embeddings: ``X_b = [P_{task_ids[b]} ; table[input_ids[b]]]``.

    With offsets O, such as the low-rank ``O_t = A_t B_t`` of DePT (Shi and Lipani, 2024), token l of a row gets
    ``O_{task_ids[b], l}`` added. With a gain of rank one, MPT's (Wang et al., 2023), all tasks share one prompt P, and
    ``P_t = P * (u_t v_t^T)``, elementwise.

    Args:
        prompts: P (T, m, d), or (1, m, d) with a gain.
        task_ids: (B,) int64 or int32 in [0, T).
        input_ids: (B, L) int64 or int32 in [0, V).
        table: token embeddings (V, d).
        offsets: O (T, L', d) with L' >= L, of any floating-point type, or None. They are added in float32, in float64
            beside float64, and rounded once.
        gain: u (T, m) and v (T, d), of any floating-point types, or None; not beside offsets. Prompt and gain are
            multiplied in float32, in float64 if one of the three is, and rounded once.
        backend: see :func:`compose_prompts`.

    Returns:
        X (B, m + L, d) in the table's dtype.
    """
    tasks, *_ = check_floating("prepend_prompts", "prompts", prompts, "(T, m, d)")
    if gain is not None:
        tasks = check_gain("prepend_prompts", gain, prompts, offsets)
    input_ids, task_ids = check_batch("prepend_prompts", input_ids, task_ids, table, tasks, prompts)
    if offsets is not None:
        check_offsets("prepend_prompts", offsets, prompts, input_ids.shape[1])
    if runs_triton("prepend_prompts", backend, table):
        return operators.prepend_prompts(prompts, task_ids, input_ids, table, offsets, *(gain or (None, None)))
    return torch_composition.prepend_prompts(prompts, task_ids, input_ids, table, offsets, gain)


def prompted_embedding(
    input_ids: Tensor,
    task_ids: Tensor,
    table: Tensor,
    logits: Tensor | None,
    sources: Tensor | None,
    privates: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    alpha: Tensor | None = None,
    row_alpha: Tensor | None = None,
    added: Tensor | None = None,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    encode_sources: bool = True,
    encode_privates: bool = True,
    backend: Backend = "auto",
) -> Tensor:
    """:func:`compose_prompts` and :func:`prepend_prompts` in one operation.

    Args:
        input_ids: (B, L) int64 or int32 in [0, V).
        task_ids: (B,) int64 or int32 in [0, T).
        table: token embeddings (V, d).
        logits: A (T, N), sources first, the private prompt last; or None.
        sources: shared prompts (n, m, d), or None.
        privates: one prompt a task (T, m, d), or None.
        weight: W (d, d) of the encoder, or None.
        bias: b (d,), or None.
        alpha: weights (T, N) in place of a softmax; without temperature and mask.
        row_alpha: weights (B, N), each row's own. Without private and added prompts task ids choose nothing; T is
            then unknown, and any that is not negative will do.
        added: a prompt of each task (T, m, d) that is added to its mix, with no weight and past the encoder.
        temperature: tau, positive and finite.
        mask: (T, N) bool, True where the candidate may be used.
        encode_sources: False when the sources bypass the encoder.
        encode_privates: False when the private prompts bypass the encoder.
        backend: see :func:`compose_prompts`.

    Returns:
        X (B, m + L, d) in the table's dtype.
    """
    mixture = Mixture(
        logits, sources, privates, weight, bias, alpha, row_alpha, added,
        temperature, mask, encode_sources, encode_privates,
    )  # fmt: skip
    tensors = task_ids, table, *mixture.learned(), mask
    facts, suits = known.look_up(input_ids, tensors, temperature, encode_sources, encode_privates)
    if suits is None:
        given = input_ids, task_ids, mixture
        check_mixture("prompted_embedding", mixture)
        input_ids, task_ids = check_batch(
            "prompted_embedding", input_ids, task_ids, table, mixture.tasks(), mixture.prompts(), row_alpha
        )
        mixture = mixture.promoted()
        suits = suits_composition(mixture, table.dtype, compiled=torch.compiler.is_compiling())
        if input_ids is given[0] and task_ids is given[1] and mixture is given[2]:  # nothing was converted
            known.keep(facts, suits)
    if runs_triton("prompted_embedding", backend, table, suits):
        return operators.prompted_embedding(input_ids, task_ids, table, *mixture)
    return torch_composition.prompted_embedding(input_ids, task_ids, table, mixture)


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    *,
    prefix_key: Tensor | None = None,
    prefix_value: Tensor | None = None,
    task_ids: Tensor | None = None,
    causal: bool = False,
    dropout: float = 0.0,
    seed: Tensor | None = None,
    backend: Backend = "auto",
) -> Tensor:
    """T5's attention, ``dropout(softmax(Q K^T + bias)) V`` without scaling, over a task's prefix and a row's own keys.

    With ``backend="triton"`` nothing of shape (Lq, Lk) is formed, forward or backward, and the prefix is read by task
    id, never copied.

    Args:
        query: (B, H, Lq, D).
        key: (B, H, Lk, D).
        value: (B, H, Lk, D).
        bias: relative position bias (H, Lq + m + Lk - 1), or None; that of key j for query i is at
            ``j - i + Lq - 1``, where keys are counted from the first of the prefix on. It may hold -inf.
        mask: (B, Lk) bool, True where a key counts; those of the prefix always do.
        prefix_key: (T, H, m, D), the keys that a task puts in front of a row's own, or None.
        prefix_value: (T, H, m, D), or None.
        task_ids: (B,) int64 or int32 in [0, T), whose prefix a row sees; given with the prefix.
        causal: hide key j from query i where ``j > i + m + Lk - Lq``.
        dropout: probability in [0, 1) with which a weight is dropped.
        seed: (1,) int64, decides what the Triton backend drops; by default drawn from torch's generator. The torch
            backend drops by torch's generator and takes none: with a seed ``"auto"`` is Triton on every GPU that it
            runs on.
        backend: see :func:`compose_prompts`. On a GPU ``"auto"`` leaves to torch float32 and float64 (but for one
            query with a prefix), one query without a mask or prefix, and heads of more than 128 columns.

    Returns:
        (B, Lq, H, D) in the dtype of ``query``. A query that sees no key gets zero.
    """
    task_ids = check_attention(query, key, value, bias, mask, prefix_key, prefix_value, task_ids, dropout, seed)
    _, _, queries, width = query.shape
    masked, prefixed = mask is not None, prefix_key is not None
    suits = suits_attention(query.dtype, queries, width, masked=masked, prefixed=prefixed, seeded=seed is not None)
    if runs_triton("attention", backend, query, suits):
        if dropout > 0 and seed is None:
            seed = torch.randint(2**63 - 1, (1,), device=query.device)
        return operators.attention(
            query, key, value, bias, mask, prefix_key, prefix_value, task_ids, seed, causal, dropout
        )[0]
    if seed is not None:
        raise ValueError("attention: backend 'torch' takes no seed; use torch.manual_seed")
    return torch_attention.attention(query, key, value, bias, mask, prefix_key, prefix_value, task_ids, causal, dropout)

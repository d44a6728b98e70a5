"""Last launch of the backward of a composition that is mixed once: what was split is added up, in a fixed order."""

import triton
import triton.language as tl
from torch import Tensor

from crosspt.kernels.compose_spread import differentiate_logits
from crosspt.kernels.launch import Composition, launch
from crosspt.kernels.mixed_tiles import sum_tiles
from crosspt.kernels.mixing import Operands


@triton.jit
def add_up(p_out, p_parts, i_tile, n_rows, d, n_splits, BY: tl.constexpr, BC: tl.constexpr):
    """``out = sum of the parts`` on BC columns of a row: (splits, rows, d) to (rows, d)."""
    n_n = tl.cdiv(d, BC)
    i_row = (i_tile // n_n).to(tl.int64)
    o_c = i_tile % n_n * BC + tl.arange(0, BC)  # [BC]
    b_sum = tl.zeros([BC], p_parts.dtype.element_ty)  # [BC]
    for i_x in range(0, n_splits, BY):
        o_x = (i_x + tl.arange(0, BY)).to(tl.int64)  # [BY]
        p_x = p_parts + ((o_x * n_rows + i_row) * d)[:, None] + o_c[None, :]  # [BY, BC]
        b_sum += tl.sum(tl.load(p_x, mask=(o_x < n_splits)[:, None] & (o_c < d)[None, :], other=0.0), 0)
    tl.store(p_out + i_row * d + o_c, b_sum.to(p_out.dtype.element_ty), mask=o_c < d)


@triton.jit(do_not_specialize=["B", "T", "n", "n_patches", "n_splits"])
def compose_sums_kernel(
    p_dlogits, p_dweight, p_dbias, p_dots, p_dweights, p_dbiases, p_logits, p_alpha, p_row_alpha, p_mask, p_task_ids,
    inv_tau: tl.float64, B, T, n, d, n_patches, n_splits,
    PRIVATE: tl.constexpr,
    BJ: tl.constexpr, BX: tl.constexpr, BY: tl.constexpr, BC: tl.constexpr,
):  # fmt: skip
    """First a program a task, or a row with weights of its own, for dA, then those over dW, then those over db.

    A result that is not asked for is None and costs nothing. G = min(B, T) groups, B with weights of the rows.

    Args:
        p_dlogits: dA (T, N), or the gradient of weights that are given, written; or None.
        p_dweight: dW (d, d), written; or None.
        p_dbias: db (d,), written; or None.
        p_dots: (n_patches, G, N), the shares of dalpha; or None.
        p_dweights: (n_splits, d, d), what adds up to dW; or None.
        p_dbiases: (n_splits, d), what adds up to db; or None.
        p_logits: A (T, N), N = n, plus 1 with private prompts; or None with weights that are given.
        p_alpha: these of the tasks (T, N), or None.
        p_row_alpha: these of the batch rows (B, N), each a group then, or None.
        p_mask: (T, N) bool, or None.
        p_task_ids: (B,), or None when the groups are the tasks.
        inv_tau: 1 / tau.
        B: batch; T when the groups are the tasks.
        T: number of tasks.
        n: number of sources.
        d: width.
        n_patches: number of shares.
        n_splits: number of sums towards dW and db.
        PRIVATE: whether there are private prompts.
        BJ: candidates of a step.
        BX: shares added at a time.
        BY: parts of dW or db added at a time.
        BC: columns of a program.
    """
    N = n + (1 if PRIVATE else 0)
    x = Operands(
        p_logits, p_alpha, p_row_alpha, None, None, None, None, None, p_mask, p_task_ids, inv_tau, B, T, n, N, 0, d
    )
    n_tasks = 0
    if p_dlogits is not None:
        n_tasks = T if p_row_alpha is None else B
    n_weight = 0
    if p_dweight is not None:
        n_weight = d * tl.cdiv(d, BC)
    i_tile = tl.program_id(0)
    if i_tile < n_tasks:
        if p_dlogits is not None:
            differentiate_logits(x, p_dlogits, p_dots, i_tile.to(tl.int64), n_patches, BX, BJ)
    elif i_tile < n_tasks + n_weight:
        if p_dweight is not None:
            add_up(p_dweight, p_dweights, i_tile - n_tasks, d, d, n_splits, BY, BC)
    elif p_dbias is not None:
        add_up(p_dbias, p_dbiases, i_tile - n_tasks - n_weight, 1, d, n_splits, BY, BC)


def compose_sums(
    mixture: Composition,
    task_ids: Tensor | None,
    shares: Tensor | None,
    dweights: Tensor | None,
    dbiases: Tensor | None,
    dlogits: Tensor | None,
    dweight: Tensor | None,
    dbias: Tensor | None,
) -> None:
    """Fill dA (T, N), or the given weights' gradient, dW (d, d) and db (d,), unless they are None.

    Args:
        mixture: the composition's arguments.
        task_ids: (G,) the groups' tasks, or None when the groups are the tasks.
        shares: shares of dalpha (shares, G, N); None without ``dlogits``.
        dweights: (splits, d, d); None without ``dweight``.
        dbiases: (splits, d); None without ``dbias``.
        dlogits: written; or None.
        dweight: written; or None.
        dbias: written; or None.
    """
    x = mixture
    tiles = sum_tiles(x.width)
    columns = -(-x.width // tiles.BC)
    programs = (0 if dlogits is None else dlogits.shape[0]) + x.width * columns * (dweight is not None)
    programs += columns * (dbias is not None)
    if programs:
        splits = next((len(parts) for parts in (dweights, dbiases) if parts is not None), 0)
        launch(
            compose_sums_kernel, (programs,), x.weights(),
            dlogits, dweight, dbias, shares, dweights, dbiases,
            x.logits, x.alpha, x.row_alpha, x.mask, task_ids, x.inv_tau,
            x.tasks() if task_ids is None else task_ids.shape[0], x.tasks(), x.num_sources, x.width,
            0 if shares is None else shares.shape[0], splits, x.privates is not None,
            *tiles[:4], num_warps=tiles.num_warps,
        )  # fmt: skip

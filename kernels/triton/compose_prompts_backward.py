"""Backward of the composition, from dP or, with fewer batch rows than tasks, from dX itself.

Two launches: the first holds the matrix products, dMixed = dP W beside the partial inner products of dalpha and
dW = dP^T Mixed beside db; the second spreads dMixed over sources and private prompts and finishes the logits. Four
where ``mixed_once`` says so: the mixture, the products with the encoder, what meets the prompts, and what adds up. Sums
over programs go through partial buffers that are added in a fixed order.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from crosspt.kernels.compose_encode_backward import compose_encode_backward
from crosspt.kernels.compose_mixture import compose_mixture
from crosspt.kernels.compose_products import compose_products
from crosspt.kernels.compose_shares import compose_shares
from crosspt.kernels.compose_spread import compose_spread
from crosspt.kernels.compose_sums import compose_sums
from crosspt.kernels.launch import Composition
from crosspt.kernels.tiles import mixed_once


class Needs(NamedTuple):
    """Which gradients are asked for."""

    logits: bool
    sources: bool
    privates: bool
    weight: bool
    bias: bool
    alpha: bool
    row_alpha: bool
    added: bool


class Gradients(NamedTuple):
    """The gradients; None where not asked for or where there is no such argument."""

    logits: Tensor | None
    sources: Tensor | None
    privates: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    alpha: Tensor | None
    row_alpha: Tensor | None
    added: Tensor | None


def compose_prompts_backward(
    grad: Tensor, mixture: Composition, needs: Needs, task_ids: Tensor | None = None
) -> Gradients:
    """Gradients of a composition.

    Args:
        grad: gradient of the groups' prompts (G, m or more, d), any strides; only the first m positions are read.
        mixture: the composition's arguments.
        needs: what to compute.
        task_ids: (G,) the groups' tasks when they are batch rows, None when the groups are the tasks.
    """
    x = mixture

    def like(asked: bool, tensor: Tensor | None) -> Tensor | None:
        return torch.empty_like(tensor) if asked and tensor is not None else None

    dlogits, dalpha = like(needs.logits, x.logits), like(needs.alpha, x.alpha)
    drow_alpha, dadded = like(needs.row_alpha, x.row_alpha), like(needs.added, x.added)
    dmixing = next((gradient for gradient in (dlogits, dalpha, drow_alpha) if gradient is not None), None)
    dsources = like(needs.sources, x.sources)
    dprivates = like(needs.privates, x.privates)
    dweight = like(needs.weight, x.weight)
    dbias = like(needs.bias, x.bias)
    gradients = Gradients(dlogits, dsources, dprivates, dweight, dbias, dalpha, drow_alpha, dadded)
    needs_mixed = (dsources is not None and x.raw_sources()) or (dprivates is not None and x.raw_privates())
    if not mixed_once(x.length, x.num_sources, x.operand):
        dots = dmixing is not None
        dmixed, shares = compose_products(grad, x, task_ids, dweight, dbias, mixed=needs_mixed, dots=dots)
        compose_spread(grad, x, task_ids, dmixing, dsources, dprivates, dadded, dmixed, shares)
        return gradients
    needs_mixed |= dmixing is not None and (x.raw_sources() or x.raw_privates())
    needs_terms = dbias is not None or (not x.given and (dsources is not None or dprivates is not None))
    found = compose_mixture(
        x, grad.shape[0], task_ids, mixed=dweight is not None, rest=False, terms=needs_terms, weight=needs_mixed
    )
    dmixed, dweights, dbiases = compose_encode_backward(
        grad, x, found, task_ids, dmixed=needs_mixed, dweight=dweight is not None, dbias=dbias is not None
    )
    terms = None if x.given else found.terms  # of given weights, raw weights alone
    shares = compose_shares(grad, x, task_ids, dmixed, terms, dsources, dprivates, dadded, dots=dmixing is not None)
    compose_sums(x, task_ids, shares, dweights, dbiases, dmixing, dweight, dbias)
    return gradients

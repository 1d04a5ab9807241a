"""The Monte Carlo error of an importance-weighted bound, from what the bound is without each of its draws."""

import math

import torch
from torch import Tensor

__all__ = ["effective_draws", "jackknife"]

_ROUNDING = 1e-12  # nats, of equal weights in float64


def jackknife(log_weight: Tensor) -> tuple[Tensor, Tensor]:
    r"""The standard errors of log (1/S) Σ_s w_s, with the effective number of draws behind each.

    .. math:: \mathrm{error}^2 = \sum_s (\ell_{-s} - \bar\ell)^2, \qquad
        \ell_{-s} = \log \frac 1{S-1} \sum_{r \ne s} w_r, \qquad \bar\ell = \frac 1S \sum_s \ell_{-s}

    Efron and Stein's inequality: whatever the law of the weights, in expectation this is at least the variance of
    the bound of S − 1 draws. The delta method has no such guarantee: its error never exceeds 1, while the largest of
    S heavy-tailed weights varies by many nats.

    Args:
        log_weight: (S, N), in nats; −∞ is a weight of zero.

    Returns:
        The errors, (N,), nan for S = 1 and ∞ where a single weight is not zero, and the number
        of :func:`effective_draws` behind each, (N,).

    References:
        Efron and Stein, *The jackknife estimate of variance*, 1981, theorem 2.

    Example:
        >>> two = torch.tensor([[0.0], [3.0]]).double()  # without either weight, the bound is the other's logarithm
        >>> round(float(jackknife(two)[0]) ** 2, 6)
        4.5
    """
    if len(log_weight) == 1:
        return torch.full_like(log_weight[0], math.nan), torch.full_like(log_weight[0], math.nan)
    total = log_weight.logsumexp(0)
    top = log_weight.argmax(0, keepdim=True)
    # of a weight that is almost all, 1 − w̄ has no digits; the others are summed by themselves
    others = log_weight.scatter(0, top, -math.inf).logsumexp(0, keepdim=True) - total
    without = (log_weight - total).exp_().neg_().log1p_().scatter_(0, top, others)
    squares = without.sub_(without.mean(0)).square_()
    alone = others[0] == -math.inf
    errors = squares.sum(0).sqrt().masked_fill(alone, math.inf)
    behind = effective_draws(squares).masked_fill(errors < _ROUNDING, math.inf)
    return errors, behind.masked_fill(alone, 1)


def effective_draws(squares: Tensor, behind: Tensor | float = 1.0) -> Tensor:
    """The effective number (Σ d)² / Σ d² of draws whose squared deviations d, (S, …), make an error, of shape (…).

    About S / 3 where deviations are normal; close to one where a single draw makes all of the error; ∞ where nothing
    deviates. Where each d is the square of an error that rests on ``behind`` draws, the number of draws of all.
    """
    largest = squares.amax(0)
    shares = squares / largest  # squares of tiny deviations would underflow
    if largest.isinf().any():  # what is infinite makes all of the error
        shares = torch.where(largest.isinf(), squares.isinf().to(squares), shares)
    return (shares.sum(0).square() / (shares.square() / behind).sum(0)).masked_fill(largest == 0, math.inf)

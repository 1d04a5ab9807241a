"""Normals with correlations, whose KL divergence from a diagonal normal has a closed form."""

import pyro.distributions as dist
from torch import Tensor
from torch.distributions import Independent, Normal, register_kl

__all__ = ["LowRankMultivariateNormal", "MultivariateNormal"]


class MultivariateNormal(dist.MultivariateNormal):
    r"""Pyro's multivariate normal, with a closed-form KL divergence from a diagonal normal.

    .. math:: \mathcal N(z; \mu, L L^\top), \qquad
        \mathrm{KL}(\mathcal N(\mu, L L^\top) \,\|\, \mathcal N(m, \operatorname{diag} s^2)) \text{ in closed form}

    Args:
        loc: μ, of shape (…, d).
        scale_tril: L, lower triangular with a positive diagonal, of shape (…, d, d); ``covariance_matrix`` and
            ``precision_matrix`` serve as well.

    Example:
        >>> import torch
        >>> q = MultivariateNormal(torch.zeros(2), scale_tril=torch.eye(2))
        >>> torch.distributions.kl_divergence(q, dist.Normal(torch.zeros(2), 1.0).to_event(1))
        tensor(0.)
    """


class LowRankMultivariateNormal(dist.LowRankMultivariateNormal):
    r"""Pyro's low-rank multivariate normal, with a closed-form KL divergence from a diagonal normal.

    .. math:: \mathcal N(z; \mu, W W^\top + \operatorname{diag} v), \qquad
        \mathrm{KL}(\mathcal N(\mu, W W^\top + \operatorname{diag} v) \,\|\, \mathcal N(m, \operatorname{diag} s^2))
        \text{ in closed form}

    Args:
        loc: μ, of shape (…, d).
        cov_factor: W, of shape (…, d, r).
        cov_diag: v, positive, of shape (…, d).

    Example:
        >>> import torch
        >>> q = LowRankMultivariateNormal(torch.zeros(2), torch.zeros(2, 1), torch.ones(2))
        >>> torch.distributions.kl_divergence(q, dist.Normal(torch.zeros(2), 1.0).to_event(1))
        tensor(0.)
    """


@register_kl(MultivariateNormal, Independent)
def _kl_full(q: MultivariateNormal, p: Independent) -> Tensor:
    return _kl(q, p, 2 * q.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1))


@register_kl(LowRankMultivariateNormal, Independent)
def _kl_low_rank(q: LowRankMultivariateNormal, p: Independent) -> Tensor:
    # the determinant lemma: det(W Wᵀ + D) = det(I + Wᵀ D⁻¹ W) det D
    log_det = 2 * q._capacitance_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1) + q._unbroadcasted_cov_diag.log().sum(-1)
    return _kl(q, p, log_det)


def _kl(q: dist.Distribution, p: Independent, log_det: Tensor) -> Tensor:
    """½ Σ_i [(Σ_ii + (μ_i − m_i)²) / s_i² − 1 + log s_i²] − ½ log det Σ."""
    base = p.base_dist
    if not isinstance(base, Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError("of what is no normal of vectors there is no closed form")
    variance = base.variance
    terms = (q.variance + (q.loc - base.loc).square()) / variance - 1 + variance.log()
    return (terms.sum(-1) - log_det) / 2

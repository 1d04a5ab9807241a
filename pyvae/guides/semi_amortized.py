"""The amortized guide that is refined for each datapoint."""

from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_int, check_module, check_positive
from pyvae.errors import PairError
from pyvae.guides.guide import Guide

__all__ = ["SemiAmortized"]


class SemiAmortized(Guide):
    r"""A semi-amortized guide: another guide's diagonal normal, refined by gradient steps for each datapoint.

    .. math:: q(z \mid x) = \mathcal N(z; \mu_T, \operatorname{diag} \sigma_T^2), \qquad
        \lambda_{t+1} = \lambda_t + \eta \nabla_\lambda \mathrm{ELBO}(x; \lambda_t), \qquad
        \lambda = (\mu, \log \sigma)

    λ_0 comes from the other guide.

    ELBO(x; λ) = E_{N(z; μ, diag σ²)}[log p(x, z)] + ½ Σ_i log 2πe σ_i². An encoder that must serve all data is optimal
    for none; a few steps per datapoint close part of the gap. Each datapoint is refined by itself. In training, the
    gradient goes through the steps to the encoder, the prior and the likelihood. Evaluations refine, too, under
    ``torch.no_grad``.

    The expectation is over samples μ ± σ ε with the same ε in all steps, drawn anew at each call. They come in pairs of
    opposite ε, of mean square 1 in each dimension, so that a normal p(z | x) has its very mean found, and its
    variances if they are independent. No step changes σ by more than a factor of e. Every step evaluates prior and
    likelihood on all samples.

    Args:
        posterior: the guide that gives λ_0, such as :class:`DiagonalNormal`.
        prior: that of the pair. Prior and likelihood belong to the pair; this guide reads them, and ``deepcopy`` of
            the pair keeps them together. A prior made of the pair's guide has to be over ``posterior``.
        likelihood: that of the pair.
        steps: T.
        step_size: η, for the ELBO of one datapoint in nats: of the order of the smallest variance of p(z | x).
        num_pairs: pairs of samples for each datapoint.

    Raises:
        ArgumentError: if a component is no module, or a number is out of range.
        PairError: when called, if the guide's distribution is not ``Normal(...).to_event(n)``.

    References:
        Kim et al., *Semi-amortized variational autoencoders*, 2018, algorithm 1; Marino, Yue and Mandt, *Iterative
        amortized inference*, 2018.

    Example:
        >>> from pyvae import guides, likelihoods, priors
        >>> prior, likelihood = priors.StandardNormal(2), likelihoods.Normal(nn.Linear(2, 5), event_shape=5)
        >>> guide = SemiAmortized(guides.DiagonalNormal(nn.Linear(5, 4), 2), prior, likelihood, steps=5)
        >>> guide(torch.zeros(3, 5)).rsample().shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        posterior: nn.Module,
        prior: nn.Module,
        likelihood: nn.Module,
        steps: int = 5,
        step_size: float = 0.1,
        num_pairs: int = 1,
    ) -> None:
        super().__init__()
        for name, module in (("posterior", posterior), ("prior", prior), ("likelihood", likelihood)):
            check_module(name, module)
        for name, count in (("steps", steps), ("num_pairs", num_pairs)):
            check_int(name, count)
        check_positive("step_size", step_size)
        self.posterior = posterior
        # in a tuple they are no submodules of the guide: their parameters belong to the pair, once
        self._model = (prior, likelihood)
        self.steps, self.step_size, self.num_pairs = steps, step_size, num_pairs

    def extra_repr(self) -> str:
        """The numbers of steps and pairs, and the step size."""
        return f"steps={self.steps}, step_size={self.step_size}, num_pairs={self.num_pairs}"

    def forward(self, x: Tensor, *context: Tensor) -> dist.Distribution:
        """The distribution N(μ_T, diag σ_T²), with x's batch shape."""
        q = self.posterior(x, *context)
        base = getattr(q, "base_dist", None)
        events = getattr(q, "reinterpreted_batch_ndims", 0)
        if not isinstance(base, dist.Normal | torch.distributions.Normal) or not events:
            raise PairError(
                f"SemiAmortized refines {q}; expected Normal(loc, scale).to_event(n), such as DiagonalNormal gives"
            )
        noise = self._noise(base.loc)

        def objective(loc: Tensor, log_scale: Tensor) -> Tensor:
            return self._elbo(x, context, loc, log_scale, noise, events)

        loc, log_scale = self._refined(objective, base.loc, base.scale.log())
        return dist.Normal(loc, log_scale.exp()).to_event(events)

    def _noise(self, like: Tensor) -> Tensor:
        """±ε of mean square 1, stacked along a new first dimension."""
        normals = torch.randn((self.num_pairs, *like.shape), dtype=like.dtype, device=like.device)
        noise = normals / normals.square().mean(0).sqrt()
        return torch.cat([noise, -noise])

    def _elbo(
        self, x: Tensor, context: tuple[Tensor, ...], loc: Tensor, log_scale: Tensor, noise: Tensor, events: int
    ) -> Tensor:
        """Of each datapoint, up to a constant, with the entropy in closed form."""
        prior, likelihood = self._model
        z = loc + log_scale.exp() * noise
        log_joint = prior(*context).log_prob(z) + likelihood(z, *context).log_prob(x)
        return log_joint.mean(0) + log_scale.flatten(log_scale.dim() - events).sum(-1)

    def _refined(
        self, objective: Callable[[Tensor, Tensor], Tensor], loc: Tensor, log_scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(μ_T, log σ_T), as a function of the parameters if gradients are wanted."""
        training = torch.is_grad_enabled()
        state = (loc, log_scale)
        with torch.enable_grad():
            for _ in range(self.steps):
                state = tuple(s if training and s.requires_grad else s.detach().requires_grad_() for s in state)
                # of a sum over data that do not mix, the gradient in λ is that of each datapoint
                gradients = torch.autograd.grad(objective(*state).sum(), state, create_graph=training)
                (loc, log_scale), (of_loc, of_log_scale) = state, gradients
                # far from the optimum the gradient of log σ grows without bound: no step changes σ by more than e
                state = loc + self.step_size * of_loc, log_scale + (self.step_size * of_log_scale).clamp(-1, 1)
        return state if training else tuple(s.detach() for s in state)

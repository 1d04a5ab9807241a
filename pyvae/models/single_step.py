"""A diffusion's ELBO from one step per datapoint, to train by."""

from numbers import Real
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import check_choice
from pyvae.distributions import StratifiedSteps, Weighted
from pyvae.errors import ArgumentError, DataError
from pyvae.models.arguments import check_given
from pyvae.models.diffusion import DiffusionVAE
from pyvae.models.forward_process import ForwardProcess
from pyvae.models.registration import register

__all__ = ["SingleStep"]


class SingleStep(nn.Module):
    r"""The training pair of a diffusion: its ELBO from one random step t per datapoint in place of the sum over t.

    ELBO(x_0) = E_t[T (1[t = 1] log p(x_0 | x_1) − 1[t > 1] KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t)))]
    − KL(q(x_T | x_0) ‖ p(x_T)), with t uniform on 1 … T and x_t ~ q(x_t | x_0).

    A pair over the parameters of the diffusion, of the same names, whose cost does not grow with T: train it, and
    draw from the diffusion. Steps are stratified over the batch. The sites ``t`` and ``noise``, from which x_t is
    computed, have the same law in both programs and no part in the ELBO; ``x_previous`` is x_{t−1}, with T 1[t > 1] as
    the weight of its densities (:class:`pyvae.distributions.Weighted`), ``x_0`` the data with T 1[t = 1], ``x_T`` the
    prior matching. :func:`pyvae.elbo` of this pair estimates that of the chain without bias; importance weights have
    no meaning here and are refused.

    Args:
        diffusion: the chain.
        weighting: "likelihood", or "simple": in training, the terms of step t count as E‖ε − ε̂‖² / 2, whose gradient
            looks less at small noise and gives the better-looking pictures. Evaluation is by the likelihood always.
        drop_labels: the probability with which training hides a label, for classifier-free guidance.

    Raises:
        ArgumentError: for an unknown weighting, a simple one of a learned schedule, or a probability out of [0, 1].
        DataError: when run without data: draw from the chain.

    References:
        Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, equations 5 and 14; Ho and Salimans,
        *Classifier-free diffusion guidance*, 2022, algorithm 1.

    Example:
        >>> import pyvae
        >>> network = pyvae.networks.TimeMLP(2, hidden=[16])
        >>> diffusion = DiffusionVAE(network, event_shape=2, schedule=pyvae.networks.CosineNoise(10))
        >>> result = pyvae.fit(SingleStep(diffusion), torch.randn(64, 2), epochs=1, seed=0, progress=False)
        >>> diffusion.model(size=3).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        diffusion: DiffusionVAE,
        weighting: Literal["likelihood", "simple"] = "likelihood",
        drop_labels: float = 0.1,
    ) -> None:
        super().__init__()
        check_choice("weighting", weighting, ("likelihood", "simple"))
        if weighting == "simple" and any(p.requires_grad for p in diffusion.schedule.parameters()):
            raise ArgumentError("the simple weighting bounds nothing that a schedule could learn from; use likelihood")
        if not isinstance(drop_labels, Real) or not 0 <= drop_labels <= 1:
            raise ArgumentError(f"drop_labels is {drop_labels!r}; expected a probability")
        # the diffusion's modules under their own names; itself in a tuple, lest they be registered twice
        self.network, self.schedule = diffusion.network, diffusion.schedule
        self._diffusion = (diffusion,)
        self.weighting, self.drop_labels = weighting, drop_labels

    @property
    def diffusion(self) -> DiffusionVAE:
        """The diffusion, that is, the whole chain."""
        return self._diffusion[0]

    def model(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The generative program of one step for each datapoint, which returns x."""
        if x is None:
            raise DataError("got no x; a single step generates nothing: draw from the diffusion, pair.diffusion.model")
        register(self)
        chain, process = self.diffusion, self.diffusion.process()
        with pyro.plate("data", len(x)):
            t, noise = self._noising(process)
            x_t = process.signal(t) * chain.centred(x) + process.noise(t) * noise
            pyro.sample("x_T", chain.prior(process))
            p = chain.reverse(process, x_t, t, self._some_labels(chain.labels(y), len(x)))
            weight = self._weight(process, t)
            pyro.sample("x_previous", Weighted(p, weight * (t > 1)))
            return pyro.sample("x_0", Weighted(chain.decoder(p), weight * (t == 1)), obs=x)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The inference program of one step for each datapoint, which returns a sample of x_{t−1}."""
        check_given(x)
        register(self)
        process, x_0 = self.diffusion.process(), self.diffusion.centred(x)
        with pyro.plate("data", len(x)):
            t, noise = self._noising(process)
            x_t = process.signal(t) * x_0 + process.noise(t) * noise
            pyro.sample("x_T", process.marginal(x_0, process.steps))
            q = process.posterior(x_t, x_0, t)
            return pyro.sample("x_previous", Weighted(q, self._weight(process, t) * (t > 1)))

    def _noising(self, process: ForwardProcess) -> tuple[Tensor, Tensor]:
        """t and ε, of the same law in both programs."""
        t = pyro.sample("t", StratifiedSteps(process.steps, process.log_snr))
        loc = torch.zeros(self.diffusion.event_shape).to(process.log_snr)
        return t, pyro.sample("noise", dist.Normal(loc, torch.ones_like(loc)).to_event(loc.dim()))

    def _weight(self, process: ForwardProcess, t: Tensor) -> Tensor:
        """T, times what makes the squared error of the mean that of ε, if the weighting is simple."""
        if self.weighting == "likelihood" or not self.training:
            return process.log_snr.new_full((), process.steps).expand(t.shape)
        variance = self.diffusion.fixed_variance(process, t)
        weights = process.steps * process.snr(t) * variance / process.data_weight(t).square()
        return weights.detach().reshape(t.shape)

    def _some_labels(self, y: Tensor | None, count: int) -> Tensor | None:
        """Labels, some of which are hidden while training."""
        if y is None or not self.training or not self.drop_labels:
            return y
        hidden = torch.rand(count, device=y.device) < self.drop_labels
        return torch.where(hidden, self.diffusion.num_classes, y)

"""Denoising diffusion: the hierarchical VAE whose guide is fixed."""

from collections.abc import Sequence
from typing import Literal

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import as_shape, check_choice, check_int
from pyvae.core.modules import evaluation_mode
from pyvae.core.random_streams import isolated_rng
from pyvae.distributions import DiscretizedNormal
from pyvae.errors import DataError, PairError
from pyvae.models.arguments import check_given, count_data
from pyvae.models.checks import check_modules, named_failures
from pyvae.models.forward_process import ForwardProcess
from pyvae.models.registration import register

__all__ = ["DiffusionVAE"]

Prediction = Literal["noise", "data", "velocity"]
Variance = Literal["posterior", "forward", "learned"]


class DiffusionVAE(nn.Module):
    r"""Denoising diffusion (DDPM) as a pair: a hierarchical VAE whose guide is a fixed noising process.

    .. math:: p(x_{0:T}) = p(x_T) \prod_t p(x_{t-1} \mid x_t), \qquad q(x_{1:T} \mid x_0) = \prod_t q(x_t \mid x_{t-1})

    The data are x_0, the latents x_1 … x_T noisier and noisier versions of them, and

    ELBO(x_0) = E_q[log p(x_0 | x_1)] − Σ_{t=2}^{T} E_q[KL(q(x_{t−1} | x_t, x_0) ‖ p(x_{t−1} | x_t))]
    − KL(q(x_T | x_0) ‖ p(x_T)).

    This pair is the whole chain, with the sites ``x_T`` … ``x_1``, ``x_0``, whose ``model`` draws by ancestral
    sampling and whose figures are exact; T calls of the network for each run. ``guide`` draws the forward process in
    the model's order, x_T first, so that every KL has a closed form; ``forward_guide`` draws the same from x_1 on.
    Train :class:`SingleStep`, an estimate of the same ELBO from one t per datapoint, over the same parameters.

    Args:
        network: called as ``network(x_t, t − 1)``, or ``network(x_t, t − 1, y)`` with classes; gives a tensor of the
            shape of x_t (with twice its first dimension for a learned variance), or what has it as ``.sample``. That
            is the call of diffusers' ``UNet2DModel``; ours are :class:`pyvae.networks.UNet` and
            :class:`pyvae.networks.TimeMLP`.
        event_shape: shape of x.
        schedule: gives λ_1 … λ_T, such as :class:`pyvae.networks.CosineNoise`; learned ones make the guide learn.
        prediction: what the network gives: the noise ε, the data x_0, or the velocity v = √ᾱ_t ε − √(1 − ᾱ_t) x_0.
        variance: that of p(x_{t−1} | x_t): β̃_t, β_t, or learned between the two (in logarithms).
        levels: the number of grey levels of data on a grid in [0, 1], which p(x_0 | x_1) then is a probability over;
            None for data of any range, best standardized, with a density.
        num_classes: K, for a network that takes labels 0 … K − 1, and K for "no label".

    Raises:
        ArgumentError: for an unknown prediction or variance, or sizes that are not positive.
        PairError: if the network fails on a batch of two, or gives another shape.
        DataError: when run with labels that it does not take.

    References:
        Ho, Jain and Abbeel, *Denoising diffusion probabilistic models*, 2020, equations 1 to 7 and 13; Nichol and
        Dhariwal, *Improved denoising diffusion probabilistic models*, 2021, equation 15; Salimans and Ho,
        *Progressive distillation*, 2022, section 4 (velocity).

    Example:
        >>> from pyvae import networks
        >>> pair = DiffusionVAE(networks.TimeMLP(2), event_shape=2, schedule=networks.CosineNoise(10))
        >>> pair.model(size=3).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        network: nn.Module,
        event_shape: int | Sequence[int],
        schedule: nn.Module,
        prediction: Prediction = "noise",
        variance: Variance = "posterior",
        levels: int | None = None,
        num_classes: int | None = None,
    ) -> None:
        super().__init__()
        check_choice("prediction", prediction, ("noise", "data", "velocity"))
        check_choice("variance", variance, ("posterior", "forward", "learned"))
        for name, value in (("levels", levels), ("num_classes", num_classes)):
            if value is not None:
                check_int(name, value, 2 if name == "levels" else 1)
        self.network = network
        self.schedule = schedule
        self.event_shape = as_shape(event_shape)
        self.prediction, self.variance, self.levels, self.num_classes = prediction, variance, levels, num_classes
        check_modules(self, "network", "schedule")
        self._check()

    def process(self) -> ForwardProcess:
        """The forward process of the schedule as it is now."""
        return ForwardProcess(self.schedule(), len(self.event_shape))

    def model(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The generative program p(x_0:T | y), which returns x_0, drawn or as given."""
        register(self)
        process, labels = self.process(), self.labels(y)
        with pyro.plate("data", count_data(x, y, size)):
            x_t = pyro.sample(f"x_{process.steps}", self.prior(process))
            for t in pyro.markov(range(process.steps, 1, -1)):
                x_t = pyro.sample(f"x_{t - 1}", self.reverse(process, x_t, t, labels))
            return pyro.sample("x_0", self.decoder(self.reverse(process, x_t, 1, labels)), obs=x)

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The inference program q(x_T | x_0) Π_t q(x_{t−1} | x_t, x_0), which returns a sample of x_1."""
        check_given(x)
        register(self)
        process, x_0 = self.process(), self.centred(x)
        with pyro.plate("data", len(x)):
            x_t = pyro.sample(f"x_{process.steps}", process.marginal(x_0, process.steps))
            for t in range(process.steps, 1, -1):  # no Markov chain: every step sees x_0
                x_t = pyro.sample(f"x_{t - 1}", process.posterior(x_t, x_0, t))
            return x_t

    def forward_guide(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The forward process Π_t q(x_t | x_{t−1}), the law of ``guide`` in time order; returns a sample of x_T."""
        check_given(x)
        register(self)
        process, x_t = self.process(), self.centred(x)
        with pyro.plate("data", len(x)):
            for t in pyro.markov(range(1, process.steps + 1)):
                x_t = pyro.sample(f"x_{t}", process.step(x_t, t))
            return x_t

    def centred(self, x: Tensor) -> Tensor:
        """Data as the diffusion takes them: those in [0, 1] moved to [−1, 1]."""
        return x if self.levels is None else 2 * x - 1

    def labels(self, y: Tensor | None) -> Tensor | None:
        """The labels that the network receives: y, K for none, or None for a network without classes.

        Raises:
            DataError: if labels are given to a network without classes.
        """
        if y is not None and self.num_classes is None:
            raise DataError("got labels y, but the diffusion has no classes: build it with num_classes=…")
        return torch.tensor(self.num_classes) if y is None and self.num_classes else y

    def prior(self, process: ForwardProcess) -> dist.Distribution:
        """The prior p(x_T) = N(0, I)."""
        loc = process.log_snr.new_zeros(self.event_shape)
        return dist.Normal(loc, torch.ones_like(loc)).to_event(loc.dim())

    def predict(self, process: ForwardProcess, x_t: Tensor, t: int | Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """The network's prediction of x_0, and its output for the variance (the prediction itself, if it has none)."""
        output = _call(self.network, x_t, t, y, len(self.event_shape))
        first = -len(self.event_shape)
        output, spread = output.chunk(2, first) if self.variance == "learned" else (output, output)
        signal, noise = process.signal(t), process.noise(t)
        if self.prediction == "noise":
            return (x_t - noise * output) / signal, spread
        return (output if self.prediction == "data" else signal * x_t - noise * output), spread

    def reverse(self, process: ForwardProcess, x_t: Tensor, t: int | Tensor, y: Tensor | None) -> dist.Distribution:
        """The reverse step p(x_{t−1} | x_t)."""
        x_0, spread = self.predict(process, x_t, t, y)
        scale = self.fixed_variance(process, t).sqrt()
        if self.variance == "learned":
            smaller, larger = process.posterior_variance(t).log(), process.beta(t).log()
            scale = ((smaller + (1 + spread) / 2 * (larger - smaller)) / 2).exp()
        return dist.Normal(process.posterior_mean(x_t, x_0, t), scale).to_event(len(self.event_shape))

    def fixed_variance(self, process: ForwardProcess, t: int | Tensor) -> Tensor:
        """The fixed variance β_t or β̃_t of a reverse step; the latter also where the variance is learned."""
        return process.beta(t) if self.variance == "forward" else process.posterior_variance(t)

    def decoder(self, last: dist.Distribution) -> dist.Distribution:
        """The distribution p(x_0 | x_1) of the last reverse step, in the units of the data."""
        if self.levels is None:
            return last
        loc, scale = (last.base_dist.loc + 1) / 2, last.base_dist.scale / 2
        return DiscretizedNormal(loc, scale, self.levels).to_event(len(self.event_shape))

    def _check(self) -> None:
        """Call schedule and network once."""
        with evaluation_mode(self), isolated_rng(), named_failures(self):
            log_snr = self.schedule()
            if not isinstance(log_snr, Tensor) or log_snr.dim() != 1 or not bool((log_snr.diff() < 0).all()):
                raise PairError("schedule: expected a module whose forward() gives λ_1 > … > λ_T, of shape (T,)")
            x = log_snr.new_zeros(2, *self.event_shape)
            output = _call(self.network, x, 1, self.labels(None), len(self.event_shape))
        shape = list(self.event_shape)
        shape[0] *= 2 if self.variance == "learned" else 1
        if list(output.shape) != [2, *shape]:
            raise PairError(
                f"network: gave shape {tuple(output.shape)} for x_t of shape {tuple(x.shape)}; expected "
                f"{(2, *shape)} with variance={self.variance!r}"
            )


def _call(network: nn.Module, x: Tensor, t: int | Tensor, y: Tensor | None, event_dim: int) -> Tensor:
    """``network(x, t − 1[, y])`` on a flat batch, whatever the leading dimensions."""
    leading = torch.Size(x.shape[: x.dim() - event_dim])  # a plain tuple, of the tensors of Pyro's get_dependencies
    inputs = [torch.as_tensor(t, device=x.device) - 1, *([] if y is None else [y.to(x.device)])]
    flat = [i.expand(leading).reshape(-1) for i in inputs]
    output = network(x.reshape(-1, *x.shape[x.dim() - event_dim :]), *flat)
    output = getattr(output, "sample", output)
    if not isinstance(output, Tensor):
        raise PairError(f"network: gave {type(output).__name__}; expected a tensor, or an object with one as .sample")
    if output.dim() < event_dim or len(output) != leading.numel():
        raise PairError(f"network: gave shape {tuple(output.shape)} for {leading.numel()} datapoints")
    return output.reshape(leading + output.shape[1:])

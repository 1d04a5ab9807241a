"""The base of priors, likelihoods and guides whose parameters come from a network."""

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from pyvae.core.arguments import as_shape
from pyvae.errors import PairError
from pyvae.networks.shapes import doubled

__all__ = [
    "NormalParametrizedByNetwork",
    "ParametrizedByNetwork",
    "call_location_log_variance",
    "call_location_scale",
    "call_network",
]


def call_network(network: nn.Module, *inputs: Tensor, shape: torch.Size) -> Tensor:
    """``network(*inputs)``, checked to end in ``shape``.

    Raises:
        PairError: if the output's last dimensions are not ``shape``.
    """
    output = network(*inputs)
    if not isinstance(output, Tensor):
        raise PairError(
            f"{type(network).__name__} returned {type(output).__name__}; expected one tensor of shape (..., "
            f"{', '.join(map(str, shape))})"
        )
    if output.shape[-len(shape) :] != shape:
        raise PairError(
            f"{type(network).__name__} returned shape {tuple(output.shape)} for inputs of shape "
            f"{', '.join(str(tuple(i.shape)) for i in inputs)}; expected (..., {', '.join(map(str, shape))})"
        )
    return output


def call_location_log_variance(network: nn.Module, *inputs: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    r"""The mean and log-variance (μ, log σ²) from one output, stacked along the first dimension of the event.

    Raises:
        PairError: if the output's event is not ``shape`` with its first dimension doubled.
    """
    return call_network(network, *inputs, shape=doubled(shape)).chunk(2, -len(shape))


def call_location_scale(network: nn.Module, *inputs: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    r"""The mean and scale (μ, σ) from one output (μ, log σ²), stacked along the first dimension of the event.

    The log-variance keeps σ positive without a floor: σ = exp(log σ² / 2).

    Raises:
        PairError: if the output's event is not ``shape`` with its first dimension doubled.
    """
    loc, log_variance = call_location_log_variance(network, *inputs, shape=shape)
    return loc, (log_variance / 2).exp()


class ParametrizedByNetwork(nn.Module):
    """The base of components whose distribution has its parameters from a network.

    Args:
        network: gives the parameters of the distribution.
        event_shape: event shape of the distribution.

    Raises:
        ArgumentError: if ``event_shape`` is not made of positive ints.
    """

    def __init__(self, network: nn.Module, event_shape: int | Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.event_shape = as_shape(event_shape)

    @property
    def output_shape(self) -> torch.Size:
        """The shape in which the network's output must end, from which recipes make the network."""
        return self.event_shape

    def output(self, *inputs: Tensor) -> Tensor:
        """The network's output, checked.

        Raises:
            PairError: if it does not end in ``output_shape``.
        """
        return call_network(self.network, *inputs, shape=self.output_shape)

    def extra_repr(self) -> str:
        """The event shape."""
        return f"event_shape={tuple(self.event_shape)}"


class NormalParametrizedByNetwork(ParametrizedByNetwork):
    """The base of diagonal normals N(μ, diag σ²) with means and log-variances from one network."""

    @property
    def output_shape(self) -> torch.Size:
        """The shape of means, then log-variances."""
        return doubled(self.event_shape)

    def normal(self, *inputs: Tensor) -> dist.Distribution:
        """The distribution, with the batch shape of the inputs."""
        loc, scale = call_location_scale(self.network, *inputs, shape=self.event_shape)
        return dist.Normal(loc, scale).to_event(len(self.event_shape))

"""The workloads as NumPyro programs."""

from collections.abc import Callable

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax import Array
from torch import nn

from benchmarks import jax_networks
from benchmarks.autoencoder import PlainPair
from benchmarks.chain import DIMENSIONS, Chain
from benchmarks.jax_networks import Network

__all__ = ["Program", "programs"]

Program = Callable[[Array], None]


def programs(plain: nn.Module) -> tuple[Program, Program]:
    """Model and guide, with the weights of a plain Pyro pair."""
    return _chain(plain) if isinstance(plain, Chain) else _autoencoder(plain)


def _call(name: str, network: Network, x: Array) -> Array:
    weights, apply = network
    return apply(numpyro.param(name, weights), x)


def _normal(parameters: Array) -> dist.Distribution:
    loc, log_variance = jnp.split(parameters, 2, -1)
    return dist.Normal(loc, jnp.exp(log_variance / 2)).to_event(1)


def _autoencoder(plain: PlainPair) -> tuple[Program, Program]:
    encoder, decoder = jax_networks.of(plain.encoder), jax_networks.of(plain.decoder)

    def model(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", dist.Normal(jnp.zeros((len(x), plain.latent_dim)), 1.0).to_event(1))
            logits = _call("decoder", decoder, z)
            numpyro.sample("x", dist.Bernoulli(logits=logits).to_event(x.ndim - 1), obs=x)

    def guide(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", _normal(_call("encoder", encoder, x)))

    return model, guide


def _chain(chain: Chain) -> tuple[Program, Program]:
    encoder, decoder = jax_networks.of(chain.encoder), jax_networks.of(chain.decoder)
    transitions = [jax_networks.of(network) for network in chain.transitions]
    inversions = [jax_networks.of(network) for network in chain.inversions]

    def model(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z_1", dist.Normal(jnp.zeros((len(x), DIMENSIONS)), 1.0).to_event(1))
            for t, network in enumerate(transitions, 2):
                z = numpyro.sample(f"z_{t}", _normal(_call(f"transition_{t}", network, z)))
            numpyro.sample("x", dist.Bernoulli(logits=_call("decoder", decoder, z)).to_event(1), obs=x)

    def guide(x: Array) -> None:
        with numpyro.plate("data", len(x)):
            z = numpyro.sample(f"z_{len(inversions) + 1}", _normal(_call("encoder", encoder, x)))
            for t in range(len(inversions), 0, -1):
                z = numpyro.sample(f"z_{t}", _normal(_call(f"inversion_{t}", inversions[t - 1], z)))

    return model, guide

"""Hierarchies: VAEs whose latents are a Markov chain."""

from collections.abc import Sequence

import pyro
import torch
from torch import Tensor, nn

from pyvae.core.modules import evaluation_mode
from pyvae.core.random_streams import isolated_rng
from pyvae.errors import PairError
from pyvae.models.arguments import check_given, count_data, embed
from pyvae.models.checks import BATCH, call_component, call_named, check_event, check_modules, example_context
from pyvae.models.registration import register

__all__ = ["LadderVAE", "MarkovVAE"]


class _Chain(nn.Module):
    """p(x, z_1:T) = p(z_1) Π_t p(z_{t+1} | z_t) p(x | z_T), the model that hierarchies share."""

    def __init__(
        self, prior: nn.Module, transitions: Sequence[nn.Module], likelihood: nn.Module, context: nn.Module | None
    ) -> None:
        super().__init__()
        self.prior = prior
        self.transitions = _modules("transitions", transitions)
        self.likelihood = likelihood
        self.context = context

    @property
    def depth(self) -> int:
        """The number T of latents."""
        return 1 + len(self.transitions)

    def model(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The generative program p(x, z_1:T | y), which returns x, drawn or as given."""
        register(self)
        count = count_data(x, y, size)
        c = embed(self.context, y)
        with pyro.plate("data", count):
            z = pyro.sample("z_1", self.prior(*c))
            for t in pyro.markov(range(2, self.depth + 1)):
                z = pyro.sample(f"z_{t}", self.transitions[t - 2](z, *c))
            return pyro.sample("x", self.likelihood(z, *c), obs=x)

    def _check(self, *roles: str) -> None:
        """Sample from every component for two datapoints, and compare the shapes; as ``check_components`` does."""
        check_modules(self, "prior", "likelihood", "context", *roles)
        with evaluation_mode(self), isolated_rng():
            c = example_context(self)
            if c is None:
                return
            levels = [call_component("prior", self.prior, *c)]
            z = levels[0].expand(torch.Size([BATCH])).sample()
            for t, transition in enumerate(self.transitions, 2):
                levels.append(call_component(f"transition to z_{t}", transition, z, *c))
                z = levels[-1].expand(torch.Size([BATCH])).sample()
            x = call_component("likelihood", self.likelihood, z, *c).expand(torch.Size([BATCH])).sample()
            self._check_guide(levels, x, c)


class MarkovVAE(_Chain):
    r"""A hierarchical VAE whose latents are a Markov chain, with a guide from the data up.

    .. math:: p(x, z_{1:T}) = p(z_1) \prod_t p(z_{t+1} \mid z_t) \, p(x \mid z_T), \qquad
        q(z_{1:T} \mid x) = q(z_T \mid x) \prod_t q(z_t \mid z_{t+1})

    The guide runs against the model, from the data up: z_1 is the top, z_T is next to x. With ``sees_data`` it is
    q(z_T | x) Π q(z_t | z_{t+1}, x). For one that runs with the model, see :class:`LadderVAE`.

    ELBO(x) = E_q[log p(x | z_T)] − Σ_t E_q[log q(z_t | ·) − log p(z_t | z_{t−1})], a term per site, as
    :func:`pyvae.elbo` gives it. That of z_1 is E_q[KL(q(z_1 | z_2) ‖ p(z_1))] ≥ 0; the others compare densities that
    know different neighbours and may be negative, but not their sum.

    Both chains are ``pyro.markov`` chains in the plate ``"data"``, with the sites ``z_1`` … ``z_T`` and ``x``.

    Args:
        prior: p(z_1), called as ``prior(*context)``.
        transitions: p(z_{t+1} | z_t) for t = 1 … T − 1, called as ``transition(z, *context)``; such as
            :class:`pyvae.priors.ConditionalNormal`. None makes a VAE of one layer.
        likelihood: p(x | z_T), called as ``likelihood(z, *context)``.
        posterior: q(z_T | x), called as ``posterior(x, *context)``.
        reverse_transitions: q(z_t | z_{t+1}) for t = 1 … T − 1, called as ``reverse(z, *context)``, or as
            ``reverse(x, z, *context)`` with ``sees_data``; such as :class:`pyvae.guides.DiagonalNormal`.
        sees_data: whether every step of the guide sees x.
        context: c, from labels or attributes y to vectors.

    Raises:
        PairError: if a component does not return a distribution, there are not as many reverse transitions as
            transitions, or event shapes do not fit.
        DataError: when run with labels but no context, or with a context but no labels.

    References:
        Luo, *Understanding diffusion models: a unified perspective*, 2022, equations 20 to 28 (whose z_1 is our z_T).

    Example:
        >>> from pyvae import guides, likelihoods, priors
        >>> pair = MarkovVAE(
        ...     prior=priors.StandardNormal(2),
        ...     transitions=[priors.ConditionalNormal(nn.Linear(2, 6), 3)],
        ...     likelihood=likelihoods.Normal(nn.Linear(3, 5), event_shape=5),
        ...     posterior=guides.DiagonalNormal(nn.Linear(5, 6), 3),
        ...     reverse_transitions=[guides.DiagonalNormal(nn.Linear(3, 4), 2)],
        ... )
        >>> pair.depth, pair.model(size=7).shape
        (2, torch.Size([7, 5]))
    """

    def __init__(
        self,
        prior: nn.Module,
        transitions: Sequence[nn.Module],
        likelihood: nn.Module,
        posterior: nn.Module,
        reverse_transitions: Sequence[nn.Module],
        sees_data: bool = False,
        context: nn.Module | None = None,
    ) -> None:
        super().__init__(prior, transitions, likelihood, context)
        self.posterior = posterior
        self.reverse_transitions = _modules("reverse_transitions", reverse_transitions)
        self.sees_data = sees_data
        _check_length("reverse_transitions", self.reverse_transitions, len(self.transitions), "transitions")
        self._check("posterior")

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The inference program q(z_1:T | x, y), which returns a sample of z_1."""
        check_given(x)
        register(self)
        c = embed(self.context, y)
        data = (x,) if self.sees_data else ()
        with pyro.plate("data", len(x)):
            z = pyro.sample(f"z_{self.depth}", self.posterior(x, *c))
            for t in pyro.markov(range(self.depth - 1, 0, -1)):
                z = pyro.sample(f"z_{t}", self.reverse_transitions[t - 1](*data, z, *c))
            return z

    def _check_guide(self, levels: Sequence[pyro.distributions.Distribution], x: Tensor, c: tuple) -> None:
        data = (x,) if self.sees_data else ()
        q = call_component("posterior", self.posterior, x, *c)
        check_event("posterior", q, levels[-1], f"model's z_{self.depth}")
        for t in range(self.depth - 1, 0, -1):
            z = q.expand(torch.Size([BATCH])).sample()
            q = call_component(f"reverse transition to z_{t}", self.reverse_transitions[t - 1], *data, z, *c)
            check_event(f"reverse transition to z_{t}", q, levels[t - 1], f"model's z_{t}")


class LadderVAE(_Chain):
    r"""A ladder VAE: a hierarchical VAE whose guide runs with the model, from the top down.

    .. math:: p(x, z_{1:T}) = p(z_1) \prod_t p(z_{t+1} \mid z_t) \, p(x \mid z_T), \qquad
        q(z_{1:T} \mid x) = q(z_1 \mid x) \prod_t q(z_{t+1} \mid z_t, x)

    The guide runs with the model, from the top down, and shares its networks: at every level it corrects the model's
    own p(z_t | z_{t−1}) by what a deterministic pass over x has found, d_t. Hence every term of

    ELBO(x) = E_q[log p(x | z_T)] − Σ_t E_q[KL(q(z_t | z_{t−1}, x) ‖ p(z_t | z_{t−1}))]

    is a KL, in closed form for normals, and deep hierarchies train. Sites as in :class:`MarkovVAE`.

    Args:
        prior: p(z_1), called as ``prior(*context)``.
        transitions: p(z_{t+1} | z_t) for t = 1 … T − 1, called as ``transition(z, *context)``.
        likelihood: p(x | z_T), called as ``likelihood(z, *context)``.
        features: x to the tuple (d_1, …, d_T), called as ``features(x, *context)``; such as
            :class:`pyvae.networks.Features`.
        posteriors: T modules, called as ``posterior(d_t, p_t)`` with p_t the model's distribution of z_t, that give
            q(z_t | z_{t−1}, x); such as :class:`pyvae.guides.PrecisionWeighted`.
        context: c, from labels or attributes y to vectors.

    Raises:
        PairError: if a component does not return a distribution, there are not T features and posteriors, or event
            shapes do not fit.
        DataError: when run with labels but no context, or with a context but no labels.

    References:
        Sønderby et al., *Ladder variational autoencoders*, 2016, equations 8 to 12.

    Example:
        >>> from pyvae import guides, likelihoods, networks, priors
        >>> pair = LadderVAE(
        ...     prior=priors.StandardNormal(2),
        ...     transitions=[priors.ConditionalNormal(nn.Linear(2, 6), 3)],
        ...     likelihood=likelihoods.Normal(nn.Linear(3, 5), event_shape=5),
        ...     features=networks.Features([nn.Linear(5, 8), nn.Linear(8, 4)]),
        ...     posteriors=[
        ...         guides.PrecisionWeighted(nn.Linear(4, 4), 2),
        ...         guides.PrecisionWeighted(nn.Linear(8, 6), 3),
        ...     ],
        ... )
        >>> pair.guide(torch.zeros(7, 5)).shape
        torch.Size([7, 3])
    """

    def __init__(
        self,
        prior: nn.Module,
        transitions: Sequence[nn.Module],
        likelihood: nn.Module,
        features: nn.Module,
        posteriors: Sequence[nn.Module],
        context: nn.Module | None = None,
    ) -> None:
        super().__init__(prior, transitions, likelihood, context)
        self.features = features
        self.posteriors = _modules("posteriors", posteriors)
        _check_length("posteriors", self.posteriors, self.depth, "latents")
        self._check("features")

    def guide(self, x: Tensor | None = None, y: Tensor | None = None, size: int = 1) -> Tensor:
        """The inference program q(z_1:T | x, y), which returns a sample of z_T."""
        check_given(x)
        register(self)
        c = embed(self.context, y)
        d = self.features(x, *c)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z_1", self.posteriors[0](d[0], self.prior(*c)))
            for t in pyro.markov(range(2, self.depth + 1)):
                z = pyro.sample(f"z_{t}", self.posteriors[t - 1](d[t - 1], self.transitions[t - 2](z, *c)))
            return z

    def _check_guide(self, levels: Sequence[pyro.distributions.Distribution], x: Tensor, c: tuple) -> None:
        d = call_named("features", self.features, x, *c)
        if not isinstance(d, tuple | list) or len(d) != self.depth:
            got = f"{len(d)} tensors" if isinstance(d, tuple | list) else type(d).__name__
            raise PairError(f"features: got {got}; expected a tuple of {self.depth}, one for each latent, z_1's first")
        for t, (posterior, p) in enumerate(zip(self.posteriors, levels, strict=True), 1):
            q = call_component(f"posterior of z_{t}", posterior, d[t - 1], p)
            check_event(f"posterior of z_{t}", q, p, f"model's z_{t}")


def _modules(role: str, modules: Sequence[nn.Module]) -> nn.ModuleList:
    if not isinstance(modules, list | tuple | nn.ModuleList) or not all(isinstance(m, nn.Module) for m in modules):
        got = [type(m).__name__ for m in modules] if isinstance(modules, list | tuple) else type(modules).__name__
        raise PairError(f"{role} is {got}; expected a list of torch.nn.Modules")
    return nn.ModuleList(modules)


def _check_length(role: str, modules: nn.ModuleList, expected: int, others: str) -> None:
    if len(modules) != expected:
        raise PairError(f"got {len(modules)} {role}; expected {expected}, as many as {others}")

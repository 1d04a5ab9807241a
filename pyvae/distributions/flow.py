"""Normalizing flows as Pyro distributions, and the import of Zuko, which makes them."""

import sys
from collections.abc import Sequence
from types import ModuleType

import torch
from pyro.distributions import Independent, TorchDistribution
from pyro.distributions.util import sum_rightmost
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints

__all__ = ["Flow", "import_zuko"]


def import_zuko() -> ModuleType:
    """The module ``zuko``, imported where it is first needed, without its effects on others.

    On import, Zuko switches the validation of all of torch's and Pyro's distributions off, and gives each of them
    empty constraints. Both are put back as they were. If a program has imported Zuko before, its choice stands.
    """
    if "zuko" not in sys.modules:
        before = {name: vars(Distribution)[name] for name in ("_validate_args", "arg_constraints")}
        try:
            import zuko  # noqa: F401
        finally:
            for name, value in before.items():
                setattr(Distribution, name, value)
    return sys.modules["zuko"]


class Flow(TorchDistribution):
    r"""The distribution of a normalizing flow: the image of a base distribution under an invertible map.

    .. math:: \log p(x) = \log p_U(f(x)) + \log \left| \det \frac{\partial f(x)}{\partial x} \right|

    Samples are x = f⁻¹(u) with u ~ p_U.

    Of a flow of Zuko it takes the two parts: ``q = zuko.flows.MAF(3)()``, ``Flow(q.transform, q.base)``. A flow is
    slow in one of its directions, an autoregressive one by as many passes as x has dimensions; for the other one as
    the slow, give ``transform.inv``.

    Where draws are the quick way, their density comes with them: given ``reads``, a flow keeps its last draw with its
    density, and ``log_prob`` of this very tensor is that. Its derivative is the one by way of whatever the draw came
    from. (The derivative in x by itself is that of another tensor: ask for ``log_prob`` of
    ``x.detach().requires_grad_()``.) If x, or a tensor that is read, has been changed or replaced since, it is
    computed from x as for any other value.

    There is no closed form of the moments: take those of draws.

    Args:
        transform: f, from x to u, by any transform of torch or Zuko.
        base: p_U.
        reads: all modules and tensors that f and p_U depend on. If none are given, no density is kept.

    References:
        Papamakarios et al., *Normalizing flows for probabilistic modeling and inference*, 2021, section 2.

    Example:
        >>> import pyro.distributions as dist
        >>> flow = Flow(torch.distributions.ExpTransform().inv, dist.Normal(0.0, 1.0))
        >>> bool(flow.log_prob(torch.tensor(2.0)) == dist.LogNormal(0.0, 1.0).log_prob(torch.tensor(2.0)))
        True
    """

    arg_constraints: dict = {}  # noqa: RUF012 (as torch has it)

    def __init__(
        self,
        transform: Transform,
        base: Distribution,
        reads: Sequence[nn.Module | Tensor] = (),
        validate_args: bool | None = None,
    ) -> None:
        missing = transform.codomain.event_dim - len(base.event_shape)
        base = Independent(base, missing) if missing > 0 else base
        shape = transform.inverse_shape(base.batch_shape + base.event_shape)
        events = len(base.event_shape) + transform.domain.event_dim - transform.codomain.event_dim
        batch_shape, event_shape = shape[: len(shape) - events], shape[len(shape) - events :]
        # a batch of transforms may share one base
        self.base = base if base.batch_shape == batch_shape else base.expand(batch_shape)
        self.transform = transform
        self.reads = tuple(reads)
        self._summed = max(-missing, 0)
        self._drawn: tuple[Tensor, Tensor, list[Tensor], object] | None = None
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:
        """Whether samples are reparametrized, as the base's."""
        return self.base.has_rsample

    @property
    def support(self) -> constraints.Constraint:
        """The domain of f."""
        domain = self.transform.domain
        missing = self.event_dim - domain.event_dim
        return constraints.independent(domain, missing) if missing else domain

    def expand(self, batch_shape: torch.Size, _instance: object = None) -> "Flow":
        """The same distribution, expanded to a larger batch."""
        expanded = Flow(self.transform, self.base.expand(batch_shape), self.reads, validate_args=False)
        expanded._validate_args = self._validate_args
        return expanded

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Samples."""
        with torch.no_grad():
            return self.transform.inv(self.base.sample(torch.Size(sample_shape)))

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Reparametrized samples; with ``reads``, their density is kept."""
        noise = self.base.rsample(torch.Size(sample_shape))
        if not self.reads:
            return self.transform.inv(noise)
        value, log_det = _call(self.transform.inv, noise)
        log_prob = self.base.log_prob(noise) - sum_rightmost(log_det, self._summed)
        tensors = _tensors(value, *self.reads)
        # the tensors themselves too: another one could get the identity of one that is gone
        self._drawn = value, log_prob, tensors, _state(tensors)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density."""
        if self._validate_args:
            self._validate_sample(value)
        if self._drawn is not None and value is self._drawn[0]:
            _, log_prob, _, state = self._drawn
            if state is not None and state == _state(_tensors(value, *self.reads)):
                return log_prob
        leading = torch.broadcast_shapes(value.shape[: value.dim() - self.event_dim], self.batch_shape)
        noise, log_det = _call(self.transform, value.expand(leading + self.event_shape))
        return self.base.log_prob(noise) + sum_rightmost(log_det, self._summed)


def _call(transform: Transform, x: Tensor) -> tuple[Tensor, Tensor]:
    """(f(x), log abs det ∂f/∂x), at once where Zuko knows how."""
    if hasattr(transform, "call_and_ladj"):
        return transform.call_and_ladj(x)
    y = transform(x)
    return y, transform.log_abs_det_jacobian(x, y)


def _tensors(*reads: nn.Module | Tensor) -> list[Tensor]:
    """All tensors that are read, and their gradients."""
    tensors = [t for r in reads for t in ((*r.parameters(), *r.buffers()) if isinstance(r, nn.Module) else (r,))]
    return tensors + [t.grad for t in tensors if t.is_leaf and t.grad is not None]


def _state(tensors: Sequence[Tensor]) -> object:
    """What is equal as long as none of these is changed or replaced; None if that cannot be told.

    torch counts the changes of a tensor, but not those by its fused optimizers: before their step come gradients.
    """
    if any(t.is_inference() for t in tensors):
        return None
    return torch.is_grad_enabled(), [(id(t), t._version, t.requires_grad) for t in tensors]

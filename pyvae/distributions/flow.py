"""Normalizing flows as Pyro distributions, and the import of Zuko, which makes them."""

import sys
import weakref
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from pyro.distributions import Independent, TorchDistribution
from pyro.distributions.util import sum_rightmost
from torch import Tensor, nn
from torch.distributions import Distribution, Transform, constraints

from pyvae.core.random_streams import isolated_rng

__all__ = ["Flow", "import_zuko"]

State = list[tuple[object, ...]]


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


class _Draw(NamedTuple):
    """The last sample of a flow, and all that its density depends on."""

    value: weakref.ref
    version: int
    requires_grad: bool
    with_graph: bool
    state: State
    log_prob: Tensor


class Flow(TorchDistribution):
    r"""The distribution of a normalizing flow: the image of a base distribution under an invertible map.

    .. math:: \log p(x) = \log p_U(f(x)) + \log \left| \det \frac{\partial f(x)}{\partial x} \right|

    Samples are x = f⁻¹(u) with u ~ p_U.

    Of a flow of Zuko it takes the two parts: ``q = zuko.flows.MAF(3)()``, ``Flow(q.transform, q.base)``. A flow is
    slow in one of its directions, an autoregressive one by as many passes as x has dimensions; for the other one as
    the slow, give ``transform.inv``.

    ``rsample`` knows the density of its samples without going back from x to u. It keeps that of the last sample, and
    ``log_prob`` of this very tensor gives it: its value, and its derivative in whatever the sample came from, are those
    of log p(x) at x = f⁻¹(u). (The derivative in x by itself is that of another tensor: ask for ``log_prob`` of
    ``x.detach().requires_grad_()``.) It is computed anew if x, or anything in ``reads``, has been changed or replaced
    since, or has got a gradient, and under gradients if x was drawn without.

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
        self._drawn: _Draw | None = None
        super().__init__(batch_shape, event_shape, validate_args=validate_args)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_drawn": None}  # a copy has samples of its own

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

    @property
    def mean(self) -> Tensor:
        """The mean, which has no closed form, from 1,000 samples of its own stream: up to an error of about σ/32."""
        with isolated_rng(seed=0):
            return torch.stack([self.sample([100]).mean(0) for _ in range(10)]).mean(0)

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
        """Reparametrized samples; their density is kept."""
        noise = self.base.rsample(torch.Size(sample_shape))
        value, log_det = _call(self.transform.inv, noise)
        log_prob = self.base.log_prob(noise) - sum_rightmost(log_det, self._summed)
        self._drawn = self._record(value, log_prob)
        return value

    def log_prob(self, value: Tensor) -> Tensor:
        """The log density."""
        if self._validate_args:
            self._validate_sample(value)
        kept = self._kept(value)
        if kept is not None:
            return kept if torch.is_grad_enabled() else kept.detach()
        leading = torch.broadcast_shapes(value.shape[: value.dim() - self.event_dim], self.batch_shape)
        noise, log_det = _call(self.transform, value.expand(leading + self.event_shape))
        return self.base.log_prob(noise) + sum_rightmost(log_det, self._summed)

    def _record(self, value: Tensor, log_prob: Tensor) -> _Draw | None:
        state = _state(self.reads)
        if not state or value.is_inference():
            return None

        def forget(_: weakref.ref, of: weakref.ref = weakref.ref(self)) -> None:  # noqa: B008
            flow = of()
            if flow is not None and flow._drawn is not None and flow._drawn.value() is None:
                flow._drawn = None

        reference = weakref.ref(value, forget)
        graph = torch.is_grad_enabled()
        return _Draw(reference, value._version, value.requires_grad, graph, state, log_prob)

    def _kept(self, value: Tensor) -> Tensor | None:
        """The density of the last sample, if this is it and nothing has changed."""
        drawn = self._drawn
        if drawn is None or drawn.value() is not value or (torch.is_grad_enabled() and not drawn.with_graph):
            return None
        alike = (value._version, value.requires_grad) == (drawn.version, drawn.requires_grad)
        now = _state(self.reads)
        same = len(now) == len(drawn.state) and all(map(_same, now, drawn.state))
        return drawn.log_prob if alike and same else None


def _call(transform: Transform, x: Tensor) -> tuple[Tensor, Tensor]:
    """(f(x), log abs det ∂f/∂x), at once where Zuko knows how."""
    if hasattr(transform, "call_and_ladj"):
        return transform.call_and_ladj(x)
    y = transform(x)
    return y, transform.log_abs_det_jacobian(x, y)


def _state(reads: Sequence[nn.Module | Tensor]) -> State:
    """All tensors that are read, with what identifies their state; empty if their changes cannot be detected.

    torch counts the changes of a tensor, but not those by its fused optimizers: before their step come gradients.
    """
    tensors = [t for r in reads for t in ((*r.parameters(), *r.buffers()) if isinstance(r, nn.Module) else (r,))]
    if any(t.is_inference() for t in tensors):
        return []
    gradients = [t.grad if t.is_leaf else None for t in tensors]
    versions = [None if g is None or g.is_inference() else g._version for g in gradients]
    return [(t, g, t._version, v, t.requires_grad) for t, g, v in zip(tensors, gradients, versions, strict=True)]


def _same(now: tuple[object, ...], then: tuple[object, ...]) -> bool:
    return now[0] is then[0] and now[1] is then[1] and now[2:] == then[2:]

"""A pair's loss as a compiled, differentiable function."""

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from pyvae.compilation.program import Programs
from pyvae.compilation.python_state import PythonState
from pyvae.compilation.tracing import as_tensor, without_items
from pyvae.errors import TraceError
from pyvae.inspection.inspection import inspect_pair
from pyvae.objectives.default import default_objective, with_plate_nesting

__all__ = ["CompiledELBO", "compile"]


class _WithGradients(torch.autograd.Function):
    """A loss whose gradients with respect to some parameters are known already."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, loss: Tensor, known: list, *parameters: Tensor) -> Tensor:
        ctx.known = known
        return loss.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *(None if g is None else g * gradient for g in ctx.known)


class CompiledELBO(nn.Module):
    """The loss of :func:`compile`.

    Attributes:
        pair: the pair, whose parameters are those of this module.
        objective: the Pyro objective; None until the first call decides.
    """

    def __init__(self, pair: nn.Module, objective: ELBO | None) -> None:
        super().__init__()
        self.pair = pair
        self.objective = objective
        self._settled: ELBO | None = None
        self._programs = Programs(pair)

    def forward(self, *args: object) -> Tensor:
        """The objective's loss in nats, summed over the batch as Pyro sums it; a scalar that can be differentiated."""
        if any(isinstance(a, Tensor) and a.requires_grad for a in args):
            raise TraceError("an argument requires a gradient, which a compiled loss does not give: detach it")
        if self._settled is None:
            self._settled = self._settle(args)
        instead = f"the objective itself: {type(self._settled).__name__}()(pair.model, pair.guide)"
        loss, gradients = self._programs.run(self._gradients, args, instead)
        return _WithGradients.apply(loss, gradients, *self.pair.parameters())

    def _settle(self, args: tuple) -> ELBO:
        before = PythonState(self.pair)
        inspection = inspect_pair(self.pair, args)
        before.restore()
        if inspection.stray:
            raise TraceError(f"the parameters {list(inspection.stray)} live in Pyro's param store alone")
        return with_plate_nesting(self.objective or default_objective(inspection), inspection)

    def _gradients(self, *args: object) -> tuple[Tensor, list[Tensor | None]]:
        @without_items
        def guide(*args: object) -> object:
            pyro.module("pair", self.pair)  # Pyro's objectives run no backward pass without parameter sites
            return self.pair.guide(*args)

        loss = self._settled.loss_and_grads(without_items(self.pair.model), guide, *args)
        return as_tensor(loss), [p.grad for p in self.pair.parameters()]


def compile(pair: nn.Module, objective: ELBO | None = None) -> CompiledELBO:
    r"""A pair's loss, −ELBO(x), and its gradient, compiled: traced once per signature into one graph.

    Pyro's Python no longer runs. The result takes the place of ``objective(pair.model, pair.guide)`` in a training loop
    of one's own; :func:`pyvae.fit` does the like by itself. Random samples stay in the graph and are fresh at each
    call, from the stream, and in the order, of the eager programs. Parameters, buffers, the arguments, and tensors that
    the programs find elsewhere are read anew at each call; a change of a number or string among the attributes of the
    pair's modules, or of their train/eval mode, traces again. Nothing is validated: the caller must make sure that data
    lie in the support of the likelihood. Other Python state (globals, closures, the sizes in a file) is read once.

    Args:
        pair: a module with ``model`` and ``guide``.
        objective: a Pyro ELBO; by default as for :func:`pyvae.fit`.

    Returns:
        A module: called with the arguments of the programs it gives the loss, a scalar tensor in nats, summed over
        the batch as Pyro sums it. Its gradients are propagated by ``loss.backward()``.

    Raises:
        TraceError: at the first call, if the programs decide by the values of tensors, read numbers with ``.item()``,
            draw random numbers without torch or change attributes of the pair; if parameters live in the param store
            alone, or an argument requires a gradient; or if there is no C++ compiler.
            At any call, if an index into a tensor is out of range.
        PairError: at the first call, if the pair fails on the arguments.

    Example:
        >>> import pyvae
        >>> vae = pyvae.recipes.gaussian(shape=(5,), latent_dim=2, hidden=[8])
        >>> loss = compile(vae)(torch.zeros(7, 5))
        >>> loss.backward()
        >>> loss.shape, vae.posterior.network.layers[-1].bias.grad.shape
        (torch.Size([]), torch.Size([4]))
    """
    return CompiledELBO(pair, objective)

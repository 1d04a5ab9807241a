"""The run of many particles as a compiled graph."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyvae.compilation import Program, described
from pyvae.errors import TraceError
from pyvae.evaluation.particles import Runner
from pyvae.inspection.densities import LogTerms

__all__ = ["CompiledRunner"]

_MOST_OPERATIONS = 15_000  # whose compilation takes about half a minute


class CompiledRunner:
    """A runner, compiled for slices of full size; smaller ones, and pairs that cannot be traced, run as they are.

    Args:
        pair: the pair, in evaluation mode.
        run: its runner.
        rows: data in a slice of full size.
        particles: samples per datapoint in it.
    """

    def __init__(self, pair: nn.Module, run: Runner, rows: int, particles: int) -> None:
        self.eager, self._full = run, (rows, particles)
        self._state = Program.state(pair)
        self._program: Program | None = None
        self._signature: list | None = None

    def __call__(self, pair: nn.Module, args: Sequence[Tensor], num_particles: int) -> LogTerms:
        """The terms, from the same random stream in either way."""
        signature = [described(a) for a in args]
        if (len(args[0]), num_particles) != self._full or signature != (self._signature or signature):
            return self.eager(pair, args, num_particles)
        try:
            if self._program is None:
                self._signature = signature
                self._program = Program(pair, lambda *rows: self._terms(pair, rows), args, _MOST_OPERATIONS)
            return LogTerms(*self._program(self._state, *args))
        except TraceError:
            self._full = (0, 0)
            return self.eager(pair, args, num_particles)

    @torch.no_grad()
    def _terms(self, pair: nn.Module, args: Sequence[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        terms = self.eager(pair, args, self._full[1])
        return terms.reconstruction, terms.latents

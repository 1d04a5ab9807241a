"""Training with NumPyro, compiled by XLA."""

import jax
import jax.numpy as jnp
from jax import Array
from numpyro import optim
from numpyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from numpyro.infer.svi import SVIState
from torch import Tensor

from benchmarks.numpyro_pairs import programs
from benchmarks.ways import LEARNING_RATE
from benchmarks.workloads import Workload

__all__ = ["NumPyroSVI"]


class NumPyroSVI:
    """SVI with the same estimator as by hand; a whole epoch is one jitted scan.

    XLA's convolutions are several times slower inside a scan on a CPU, so that images are trained step by jitted step.
    """

    def __init__(self, workload: Workload, data: Tensor, batch_size: int, seed: int) -> None:
        self._data, self._batch_size = jnp.asarray(data.numpy()), batch_size
        objective = TraceMeanField_ELBO() if workload.analytic else Trace_ELBO()
        model, guide = programs(workload.seeded(seed).plain)
        self.svi = SVI(model, guide, optim.Adam(LEARNING_RATE), objective)
        self._key, key = jax.random.split(jax.random.key(seed))
        self.state = self.svi.init(key, self._data[:batch_size])
        self._step = jax.jit(self._update, donate_argnums=0)
        self._scan = jax.jit(self._whole_epoch, donate_argnums=0)
        self._by_step = workload.name == "conv"

    def _update(self, state: SVIState, data: Array, rows: Array) -> tuple[SVIState, Array]:
        return self.svi.update(state, data[rows])

    def _whole_epoch(self, state: SVIState, data: Array, order: Array) -> tuple[SVIState, Array]:
        return jax.lax.scan(lambda carry, rows: self._update(carry, data, rows), state, order)

    def epoch(self) -> float:
        """One pass over the data; rows that fill no batch are left out."""
        self._key, key = jax.random.split(self._key)
        steps = len(self._data) // self._batch_size
        order = jax.random.permutation(key, len(self._data))[: steps * self._batch_size].reshape(steps, -1)
        if self._by_step:
            losses = []
            for rows in order:
                self.state, loss = self._step(self.state, self._data, rows)
                losses.append(loss)
            return float(jnp.stack(losses).mean()) / self._batch_size
        self.state, losses = self._scan(self.state, self._data, order)
        return float(losses.mean()) / self._batch_size

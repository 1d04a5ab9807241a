"""Objectives that would be wrong without a word are refused, with the name of one that is right."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import RenyiELBO, ReweightedWakeSleep, Trace_ELBO, TraceMeanField_ELBO

import pyvae
from pyvae.objectives import VIMCO, ImportanceWeightedELBO
from tests.clients.hierarchies import DIM, ladder, markov
from tests.truth.losses import Bits, Plain


class Outside(Plain):
    def model(self, x):
        pyro.factor("outside", -self.A.square().sum())
        super().model(x)


class Point(Plain):
    def guide(self, x):
        with self.plate(x):
            pyro.sample("z", dist.Delta(x @ self.B, event_dim=1))


@pytest.mark.parametrize(
    ("pair", "objective", "match"),
    [
        (Bits(), RenyiELBO(alpha=0, num_particles=2), r"site 'bits'.*RenyiELBO.*use objectives.VIMCO"),
        (Bits(), TraceMeanField_ELBO(), r"site 'bits'.*TraceMeanField_ELBO.*use Trace_ELBO"),
        (Bits(), ImportanceWeightedELBO(2), r"site 'bits'.*ImportanceWeightedELBO.*use VIMCO"),
        (Outside(), RenyiELBO(alpha=0, num_particles=2), r"site 'outside' lies outside.*VariationalRenyiBound"),
        (Plain(size=120), RenyiELBO(alpha=0, num_particles=2), r"in a mini-batch of.*VariationalRenyiBound"),
        (Outside(), ImportanceWeightedELBO(2), r"site 'outside' of the model lies outside.*use Trace_ELBO"),
        (Point(), VIMCO(2), r"site 'z' of the guide is a Delta.*use Trace_ELBO"),
        (Plain(), ReweightedWakeSleep(num_particles=2), r"objectives.ReweightedWakeSleep"),
        (markov(), TraceMeanField_ELBO(), r"the guide draws 'z_3' where the model draws 'z_1'.*use Trace_ELBO"),
    ],
)
def test_unsound(pair, objective, match):
    with pytest.raises(pyvae.PairError, match=match):
        pyvae.fit(pair, torch.randn(12, DIM), objective=objective, epochs=1, seed=0, progress=False)


@pytest.mark.parametrize(
    ("pair", "objective"),
    [
        (Plain(), RenyiELBO(alpha=0, num_particles=2)),
        (Bits(), Trace_ELBO()),
        (Bits(), VIMCO(2)),
        (ladder(), TraceMeanField_ELBO()),
        (Outside(), Trace_ELBO()),
    ],
)
def test_sound(pair, objective):
    result = pyvae.fit(pair, torch.randn(12, DIM), objective=objective, epochs=1, seed=0, progress=False)
    assert result.history[0]["train_loss"] > 0

"""What each tool makes of Pyro's example VAEs: figures as Pyro's own objectives have them, or a refusal that helps."""

import re
from pathlib import Path

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO

import pyvae
from pyvae.core.modules import evaluation_mode
from tests.clients.pyros_programs import DeepMarkov, N, programs

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "pyro-examples.md"
NAMES = [*programs()]
TOOLS = {
    "fit": lambda pair, args: pyvae.fit(pair, args, epochs=1, seed=0, progress=False),
    "elbo": lambda pair, args: pyvae.elbo(pair, args, num_particles=2, seed=0),
    "log_likelihood": lambda pair, args: pyvae.log_likelihood(pair, args, num_particles=2, seed=0),
    "diagnose": lambda pair, args: pyvae.diagnose(pair, args, num_particles=25, seed=0),
    "to_inference_data": lambda pair, args: pyvae.to_inference_data(pair, args, num_samples=2, seed=0),
}
#: where the loss holds more than the ELBO: what the guide observes, a weight on the KL
HIDDEN = {"contrib.cevae": ["t", "y"]}
#: refused, or with a batch norm, which has other statistics in training
NOT_TRAINED_AS_EVALUATED = {"scanvi", "scanvi, own parameter", "sparse_gamma_def", "prodlda"}
REFUSED_BY_ELBO = {"sparse_gamma_def"}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def plain(name, pair):
    """Objective, model and guide of which Pyro's loss is minus the ELBO."""
    guide = poutine.block(pair.guide, hide=HIDDEN.get(name, []))
    summed_out = name in ("hmm", "ss_vae_M2, enumerated")
    objective = TraceEnum_ELBO(max_plate_nesting=2 if name == "hmm" else 1) if summed_out else Trace_ELBO()
    if isinstance(pair, DeepMarkov):
        pair.annealing = 1.0
    return objective, pair.model, guide


def mean_and_error(values):
    values = torch.as_tensor(values, dtype=torch.float64)
    return float(values.mean()), float(values.std() / len(values) ** 0.5)


@pytest.mark.filterwarnings("ignore")
def test_the_elbo_is_that_of_pyro(name):
    pair, args = programs()[name]
    if name in REFUSED_BY_ELBO:
        with pytest.raises(pyvae.PairError, match="outside of the data plate"):
            pyvae.elbo(pair, args)
        return
    estimate = pyvae.elbo(pair, args, num_particles=300, seed=0)
    objective, model, guide = plain(name, pair)
    with evaluation_mode(pair):
        expected, error = mean_and_error([-objective.loss(model, guide, *args) / N for _ in range(300)])
    assert estimate.value == pytest.approx(expected, abs=4 * (error**2 + estimate.standard_error**2) ** 0.5 + 1e-5)
    bound = pyvae.log_likelihood(pair, args, num_particles=300, seed=0)
    assert bound.value > estimate.value - 4 * estimate.standard_error - 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [n for n in NAMES if n not in NOT_TRAINED_AS_EVALUATED])
def test_what_fit_logs_is_the_elbo(name):
    """Without a step to speak of."""
    pair, args = programs()[name]
    frozen = {"batch_size": N, "optimizer": lambda p: torch.optim.SGD(p, lr=1e-12)}
    history = pyvae.fit(pair, args, validation=args, epochs=100, seed=0, progress=False, **frozen).history
    # where latents are summed out, the loss is minus the ELBO, and its terms are not logged
    logged, error = mean_and_error([row.get("train_elbo", -row["train_loss"]) for row in history])
    estimate = pyvae.elbo(pair, args, num_particles=100, seed=1)
    assert logged == pytest.approx(estimate.value, abs=4 * (error**2 + estimate.standard_error**2) ** 0.5 + 1e-5)
    of_one = estimate.standard_error * 100**0.5  # one sample, the same in each epoch
    assert history[-1]["validation_elbo"] == pytest.approx(estimate.value, abs=4 * of_one + 1e-5)


def row_of(name):
    """What the page has to say of a program: a mark, or the number of a refusal's note, for each tool."""
    cells, notes = [], {}
    for tool in TOOLS.values():
        pyro.clear_param_store()
        torch.manual_seed(0)
        pair, args = programs()[name]
        try:
            tool(pair, args)
            cells.append("✓")
        except pyvae.PyvaeError as error:
            note = re.split(r"[:;.] ", str(error))[0]
            cells.append(notes.setdefault(note, f"no: {note}"))
    return f"| {name} | {' | '.join(cells)} |"


@pytest.mark.filterwarnings("ignore")
def test_the_page_says_what_each_tool_makes_of_it(name):
    assert row_of(name) in PAGE.read_text()

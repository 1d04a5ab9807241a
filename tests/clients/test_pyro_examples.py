"""Pyro's examples in every tool, and the figures of them that are known otherwise."""

import math

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO

import pyvae

from .pyro_examples_sequences import HiddenMarkov
from .pyro_examples_table import EXAMPLES, TOOLS, outcome

#: the tools that refuse an example, by a word of the reason
REFUSED = {
    "sparse_gamma_def": dict.fromkeys(TOOLS, "lies outside of the data plate")
    | {"fit": "self.rate = pyro.nn.PyroParam"},
    "hmm": dict.fromkeys(("diagnose", "to_inference_data"), "sums"),
}


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_every_tool_takes_it_or_says_why_not(example, tool):
    found, expected = outcome(example, tool), REFUSED.get(example, {}).get(tool)
    assert found == "✓" if expected is None else expected in found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("example", [e for e in EXAMPLES if e not in {"sparse_gamma_def", "hmm", "ss_vae_M2"}])
def test_the_elbo_is_that_of_pyros_traces(example):
    """Of runs of Pyro alone, whose unscaled densities are added up; what the guide observes is left out."""
    torch.manual_seed(0)
    pair = EXAMPLES[example]()
    data = pair.data()
    args = data if isinstance(data, tuple) else (data,)
    totals = []
    for _ in range(300):
        guide = poutine.trace(pair.guide).get_trace(*args)
        model = poutine.trace(poutine.replay(pair.model, trace=guide)).get_trace(*args)
        model.compute_log_prob()
        guide.compute_log_prob()
        p, q = (
            [s for s in t.nodes.values() if "unscaled_log_prob" in s and not s["name"].endswith("data")]
            for t in (model, guide)
        )
        q = [s for s in q if not s["is_observed"] or isinstance(s["fn"], pyro.distributions.Unit)]
        total = sum(_sum(s) for s in p) - sum(_sum(s) for s in q)
        totals.append(float(total) / len(args[0]))
    totals = torch.tensor(totals)
    estimate = pyvae.elbo(pair, data, num_particles=500, seed=1)
    error = math.hypot(estimate.standard_error, float(totals.std()) / math.sqrt(len(totals)))
    assert abs(estimate.value - float(totals.mean())) < 4.5 * error


def _sum(site):
    log_prob = site["unscaled_log_prob"]
    return (log_prob if site["mask"] is None else log_prob * site["mask"]).sum()


def test_the_hidden_markov_models_figure_is_pyros():
    torch.manual_seed(0)
    pair = HiddenMarkov()
    data = pair.data()
    expected = -TraceEnum_ELBO(max_plate_nesting=1).loss(pair.model, pair.guide, *data) / len(data[0])
    assert pyvae.elbo(pair, data).value == pytest.approx(expected, rel=1e-5)
    assert pyvae.fit(pair, data, epochs=1, seed=0, progress=False).history[0]["train_loss"] == pytest.approx(-expected)

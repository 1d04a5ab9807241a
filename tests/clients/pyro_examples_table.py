"""What every tool makes of Pyro's examples, as a table of the documentation."""

import warnings

import pyro
import torch

import pyvae

from . import pyro_examples as images
from . import pyro_examples_counts as counts
from . import pyro_examples_sequences as sequences

EXAMPLES = {
    "vae": images.ImageVAE,
    "ss_vae_M2": images.SemiSupervised,
    "dmm": sequences.DeepMarkov,
    "cvae": images.Conditional,
    "air": images.AttendInferRepeat,
    "contrib.cevae": images.CausalEffect,
    "scanvi": counts.AnnotatedCounts,
    "prodlda": counts.Topics,
    "sparse_gamma_def": counts.SparseGamma,
    "hmm": sequences.HiddenMarkov,
}
TOOLS = {
    "fit": lambda pair, data: pyvae.fit(pair, data, epochs=1, seed=0, progress=False),
    "elbo": lambda pair, data: pyvae.elbo(pair, data, num_particles=20, seed=0),
    "log_likelihood": lambda pair, data: pyvae.log_likelihood(pair, data, num_particles=50, seed=0),
    "diagnose": lambda pair, data: pyvae.diagnose(pair, data, num_particles=25, seed=0),
    "to_inference_data": lambda pair, data: pyvae.to_inference_data(pair, data, num_samples=5, seed=0),
}


def outcome(example, tool):
    """ "✓", or the reason why not."""
    torch.manual_seed(0)
    pyro.clear_param_store()
    pair = EXAMPLES[example]()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            TOOLS[tool](pair, pair.data())
    except pyvae.PyvaeError as error:
        return str(error)
    return "✓"


def page():
    """The table, as a page of the documentation."""
    notes, lines = {}, []
    for example in EXAMPLES:
        cells = []
        for tool in TOOLS:
            found = outcome(example, tool)
            cells.append(found if found == "✓" else f"[{notes.setdefault(found, len(notes) + 1)}](#notes)")
        lines.append(f"| `{example}` | {EXAMPLES[example].__doc__.split(': ', 1)[-1]} | " + " | ".join(cells) + " |")
    head = "| example | what is in it | " + " | ".join(f"`{tool}`" for tool in TOOLS) + " |"
    rule = "| --- | --- |" + " :-: |" * len(TOOLS)
    told = [f"{number}. {reason}" for reason, number in notes.items()]
    return "\n".join([_INTRODUCTION, head, rule, *lines, "\n## Notes\n", *told, ""])


_INTRODUCTION = """# Pyro's examples

What each tool makes of the programs of Pyro's examples and tutorials, written small. This table is made by the tests. A
number leads to the reason why a tool refuses.
"""

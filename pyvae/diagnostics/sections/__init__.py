"""The sections of a diagnosis: each a function from a subject to figures and pictures."""

from pyvae.diagnostics.sections.aggregate import aggregated_posterior
from pyvae.diagnostics.sections.bounds import bounds
from pyvae.diagnostics.sections.calibration import calibration
from pyvae.diagnostics.sections.codebooks import codebooks
from pyvae.diagnostics.sections.latents import latents
from pyvae.diagnostics.sections.predictive import predictive
from pyvae.diagnostics.sections.refinement import inference_gap
from pyvae.diagnostics.sections.section import Finding, Picture, Section
from pyvae.diagnostics.sections.subject import Subject

__all__ = [
    "Finding",
    "Picture",
    "Section",
    "Subject",
    "aggregated_posterior",
    "bounds",
    "calibration",
    "codebooks",
    "inference_gap",
    "latents",
    "predictive",
]

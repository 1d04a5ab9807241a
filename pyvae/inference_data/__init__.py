"""Inference data: samples and figures of a pair for ArviZ."""

from pyvae.inference_data.to_inference_data import to_inference_data

__all__ = ["to_inference_data"]

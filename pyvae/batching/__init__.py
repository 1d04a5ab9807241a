"""Batching: any data as batches."""

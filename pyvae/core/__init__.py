"""Core: helpers that every other folder may use."""

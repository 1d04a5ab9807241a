"""Core: what every other folder may use."""

"""Pages: plots and HTML."""

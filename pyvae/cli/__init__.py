"""Command line: ``pyvae fit RECIPE``, ``sample``, ``traverse``, ``evaluate``, … on what it leaves behind."""

"""``python -m pyvae``: the command line."""

import sys

from pyvae.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

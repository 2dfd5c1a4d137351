"""`python -m foldwright` is the same as the `foldwright` command."""

import sys

from foldwright.cli import main

__all__: list[str] = []

if __name__ == "__main__":
    sys.exit(main())

"""`python -m didact` is `didact`."""

import sys

from didact.cli import main

if __name__ == "__main__":
    sys.exit(main())

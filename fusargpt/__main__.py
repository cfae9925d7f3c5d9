"""`python -m fusargpt`: the command, where its script is not on the path."""

import sys

from fusargpt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

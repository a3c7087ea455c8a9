"""``python -m lab.operator``."""

import sys

from lab.operator.study import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m vit`, the same as `vit`."""

import sys

from vit.cli import main

sys.exit(main())

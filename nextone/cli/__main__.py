"""`python -m nextone.cli` is `nextone`."""

import sys

from nextone.cli.main import main

sys.exit(main())

"""python -m gradcam: the command line."""

import sys

from gradcam.cli import main

sys.exit(main())

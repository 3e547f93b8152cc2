# SPDX-License-Identifier: MIT
"""`python -m pidproof`."""

from __future__ import annotations

import sys

from pidproof.cli import main


sys.exit(main())

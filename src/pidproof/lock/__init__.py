# SPDX-License-Identifier: MIT
"""Who may decide for a key just now: the spawn lock and the wait for it."""

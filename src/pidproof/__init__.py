# SPDX-License-Identifier: MIT
"""Exactly one healthy background server per key, and proof of which process that is."""

from __future__ import annotations


__version__ = "0.1.0"

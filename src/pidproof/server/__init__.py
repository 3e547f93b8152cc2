# SPDX-License-Identifier: MIT
"""One healthy server per key: its record, its start, its health and its end."""

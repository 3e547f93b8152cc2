# SPDX-License-Identifier: MIT
"""Which process is that: identities, handles, argv patterns and the scan."""

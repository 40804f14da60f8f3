"""Masking of secrets, for users' own logs and error messages: what the guard does wherever text leaves the process.

::

    from guarded_tools.secrets import mask

    mask("Authorization: Bearer sk-ant-api03-…")      # 'Authorization: Bearer ***'

This is the public face; which shapes are known, and what masking cannot do, is written down in
:mod:`guarded_tools.text.redaction`.
"""

from __future__ import annotations

from guarded_tools.text.redaction import mask, mask_json
from guarded_tools.text.secret_shapes import MASK

__all__ = ["MASK", "mask", "mask_json"]

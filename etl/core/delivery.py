"""Which deliveries wait to be read: landed, not parsed, and not told again since."""

from __future__ import annotations

UNREAD = """
    SELECT d.delivery_id, d.window_from, d.window_until
    FROM ops.delivery AS d
    LEFT JOIN ops.delivery_part AS part ON part.delivery_id = d.delivery_id AND part.part_no = 1
    WHERE d.partner_account = %s
      AND NOT EXISTS (SELECT 1 FROM ops.parse AS p WHERE p.delivery_id = d.delivery_id)
      AND NOT EXISTS (
        SELECT 1
        FROM ops.delivery AS later
        JOIN ops.parse AS p ON p.delivery_id = later.delivery_id
        JOIN ops.delivery_part AS its ON its.delivery_id = later.delivery_id AND its.part_no = 1
        WHERE later.partner_account = d.partner_account
          AND later.observed_at > d.observed_at
          AND later.window_from <= d.window_from
          AND later.window_until >= d.window_until
          AND its.media_type = part.media_type)
    ORDER BY d.delivery_id
"""
"""Takes a partner account. A delivery is told again by a later one of its account that could be parsed, is of the same
kind (of one network or site) and covers its window. What an unreadable one said is then in the later, or gone."""

"""Generated clicks, transactions and programs in the canonical schemas: seeded, with random keys and planted defects.

Everything follows from a hash of the row's number, so the same size gives the same rows on every machine. Defects are
about as frequent as in the sandbox's worlds: references that are missing, cut, lower-cased, of another program or of
nobody, clicks after the sale or out of the window, orders told twice, commission off its contract, negative rows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb

PROGRAMS = 200
MEMBERS = 1_000_000
FIRST_DAY = "2026-01-01"
DAYS = 90

_PROGRAM = f"""
SELECT 'p' || CAST(i AS VARCHAR) AS program_id, 'm' || CAST(i % 150 AS VARCHAR) AS merchant_id,
    CASE i % 3 WHEN 0 THEN 'awin' WHEN 1 THEN 'tradetracker' ELSE 'rakuten' END AS partner,
    CAST(10000 + i AS VARCHAR) AS partner_program_id, 'Shop ' || CAST(i AS VARCHAR) AS name, 'EUR' AS currency,
    CAST(0.05 AS DECIMAL(9, 6)) AS commission_rate, CAST(30 AS INTEGER) AS lookback_days,
    CAST(30 AS INTEGER) AS validation_days, TIMESTAMP '2020-01-01' AS valid_from, CAST(NULL AS TIMESTAMP) AS valid_until
FROM range({PROGRAMS}) AS t(i)
"""

# A click is a function of its number, so that a transaction can know its click without a join. Ids look like a
# tracker's: 22 characters of base 64, not in any order.
_MACROS = f"""
CREATE MACRO digest(i) AS to_base64(unhex(md5('click' || CAST(i AS VARCHAR))));
CREATE MACRO click_id(i) AS substr(replace(replace(digest(i), '+', '-'), '/', '_'), 1, 22);
CREATE MACRO click_program(i) AS CAST(hash(i, 'program') % {PROGRAMS} AS BIGINT);
CREATE MACRO click_time(i) AS
    TIMESTAMP '{FIRST_DAY}' + to_microseconds(CAST(hash(i, 'time') % ({DAYS}::UBIGINT * 86400000000) AS BIGINT));
CREATE MACRO partner_of(p) AS CASE p % 3 WHEN 0 THEN 'awin' WHEN 1 THEN 'tradetracker' ELSE 'rakuten' END;
"""

_CLICK = f"""
SELECT click_id(i) AS click_id, partner_of(click_program(i)) AS partner,
    'p' || CAST(click_program(i) AS VARCHAR) AS program_id,
    'u' || CAST(hash(i, 'member') % {MEMBERS} AS VARCHAR) AS member_id, click_time(i) AS clicked_at
FROM range($clicks) AS t(i)
ORDER BY hash(i, 'place')
"""

# `luck` in thousandths: below 940 all is well; the rest has one defect each.
_TRANSACTION = """
WITH drawn AS (
    SELECT n, CAST(hash(n, 'of') % $clicks AS BIGINT) AS i, CAST(hash(n, 'luck') % 1000 AS INTEGER) AS luck,
        CAST(60 + hash(n, 'after') % (5 * 86400) AS BIGINT) AS seconds_after,
        CAST(500 + hash(n, 'sale') % 30000 AS BIGINT) AS sale_minor
    FROM range($transactions) AS t(n)
),
told AS (
    SELECT d.*, click_program(i) AS program, click_time(i) AS clicked_at,
        CASE
            WHEN luck >= 995 THEN click_time(i) - INTERVAL 2 HOUR
            WHEN luck >= 990 THEN click_time(i) + INTERVAL 45 DAY
            ELSE click_time(i) + to_seconds(seconds_after)
        END AS occurred_at,
        -- Two rows in a hundred are the next one's order told again.
        CASE WHEN luck BETWEEN 985 AND 989 THEN n + 1 ELSE n END AS order_number
    FROM drawn AS d
)
SELECT partner_of(program) AS partner, partner_of(program) || '_main' AS partner_account,
    CAST(700000000 + n AS VARCHAR) AS transaction_id, '' AS line_id, 'sale' AS kind,
    CAST(NULL AS VARCHAR) AS original_transaction_id,
    CASE WHEN hash(n, 'order') % 2 = 0 THEN 'o' || CAST(order_number AS VARCHAR) END AS order_ref,
    CAST(10000 + CASE WHEN luck = 984 THEN (program + 3) % 200 ELSE program END AS VARCHAR) AS partner_program_id,
    CAST(NULL AS VARCHAR) AS program_id,
    CASE
        WHEN luck BETWEEN 940 AND 954 THEN NULL
        WHEN luck BETWEEN 955 AND 962 THEN substr(click_id(i), 1, 16)
        WHEN luck BETWEEN 963 AND 971 THEN lower(click_id(i))
        WHEN luck BETWEEN 972 AND 983 THEN 'x' || substr(md5('nobody' || CAST(n AS VARCHAR)), 1, 21)
        ELSE click_id(i)
    END AS click_ref,
    CASE WHEN program % 3 < 2 THEN date_trunc('minute', clicked_at) END AS partner_clicked_at,
    CASE WHEN program % 3 < 2 THEN CAST(60 AS INTEGER) END AS partner_clicked_precision_seconds,
    date_trunc('minute', occurred_at) AS occurred_at, CAST(60 AS INTEGER) AS occurred_precision_seconds,
    CAST(NULL AS TIMESTAMP) AS processed_at, CAST(NULL AS TIMESTAMP) AS modified_at,
    CASE luck % 10 WHEN 0 THEN 'declined' WHEN 1 THEN 'pending' ELSE 'approved' END AS status,
    CASE luck % 10 WHEN 0 THEN 'declined' WHEN 1 THEN 'pending' ELSE 'approved' END AS raw_status,
    FALSE AS partner_paid, CAST(NULL AS VARCHAR) AS payment_ref, CAST(NULL AS VARCHAR) AS reason,
    CAST(sale_minor * 0.01 AS DECIMAL(18, 4)) AS sale_amount,
    CAST(CASE WHEN luck = 983 THEN sale_minor * 0.0009 ELSE sale_minor * 0.0005 END AS DECIMAL(18, 4))
        AS commission_amount,
    'EUR' AS currency, 'd' || CAST(n // 50000 AS VARCHAR) AS delivery_id, CAST(n % 50000 + 1 AS BIGINT) AS row_number,
    sha256('content' || CAST(n AS VARCHAR)) AS content_hash
FROM told
ORDER BY n
"""


def matching_world(folder: Path, clicks: int, transactions: int, told: Callable[[str], None]) -> None:
    """Write click.parquet, transaction.parquet and program.parquet under `folder`."""
    told(f"{clicks:,} clicks and {transactions:,} transactions are generated")
    with duckdb.connect(
        config={"memory_limit": "4GB", "threads": 2, "temp_directory": str(folder / "spill")}
    ) as engine:
        engine.execute(_MACROS)
        sizes = {"clicks": clicks, "transactions": transactions}
        for name, query, named in (
            ("program", _PROGRAM, ()),
            ("click", _CLICK, ("clicks",)),
            ("transaction", _TRANSACTION, ("clicks", "transactions")),
        ):
            text = query
            for parameter in named:
                text = text.replace(f"${parameter}", str(sizes[parameter]))
            engine.execute(f"COPY ({text}) TO '{folder / name}.parquet' (FORMAT parquet, COMPRESSION zstd)")

"""What a trace asks the warehouse; each query in a total order."""

PAYOUT = """
    SELECT p.payout_id, p.batch_id, p.member_id, p.currency, p.amount_minor, p.state, p.payee_version, p.end_to_end_id,
        b.selected_for, b.state AS batch_state, b.sha256 AS file_sha256, b.remote_name,
        (SELECT string_agg(a.approved_by, ', ' ORDER BY a.approved_by) FROM payout.approval AS a
         WHERE a.batch_id = b.batch_id AND a.sha256 = b.sha256) AS approved_by
    FROM payout.payout AS p
    JOIN payout.batch AS b ON b.batch_id = p.batch_id
    WHERE p.payout_id = %s
"""
LINES = """
    SELECT document_kind, document_id, amount_minor FROM payout.payout_line WHERE payout_id = %s
    ORDER BY document_kind, document_id
"""
SALE_OF = """
    SELECT DISTINCT sale_id FROM ops.transaction_version
    WHERE transaction_id = %s OR partner_account || ':' || transaction_id = %s OR sale_id = %s
    ORDER BY sale_id
"""
SALE_OF_KEY = """
    SELECT DISTINCT sale_id FROM ops.transaction_version WHERE partner_account = %s AND transaction_id = %s
    ORDER BY sale_id
"""
ENTRY = """
    SELECT year, number, document_kind, document_id, entry_no, booked_on, posted_at, created_by, run_id, hash
    FROM ledger.journal_entry WHERE entity = %s AND year = %s AND number = %s
"""
DELIVERIES = """
    SELECT d.delivery_id, d.partner_account, d.window_from, d.window_until, d.observed_at, d.sha256, p.row_count,
        p.transaction_count, p.reject_count, v.state AS check_state,
        (SELECT count(*) FROM ops.transaction_version AS t WHERE t.delivery_id = d.delivery_id) AS versions
    FROM ops.delivery AS d
    LEFT JOIN ops.parse AS p ON p.delivery_id = d.delivery_id
        AND p.parse_version = (SELECT max(n.parse_version) FROM ops.parse AS n WHERE n.delivery_id = d.delivery_id)
    LEFT JOIN ops.validation AS v ON v.delivery_id = p.delivery_id AND v.parse_version = p.parse_version
    WHERE starts_with(d.delivery_id, %s)
    ORDER BY d.delivery_id
"""
DELIVERED_VERSIONS = """
    SELECT sale_id, transaction_id, line_id, version_no, effective_on, kind, status, is_absent, partner_paid,
        sale_amount, commission_amount, currency, delivery_id, row_number
    FROM ops.transaction_version WHERE delivery_id = %s
    ORDER BY row_number, transaction_id, line_id LIMIT 20
"""
REJECTS = """
    SELECT row_number, stage, transaction_id, line_id, rule, column_name, value, reason
    FROM ops.reject WHERE delivery_id = %s AND (%s::bigint IS NULL OR row_number = %s)
    ORDER BY parse_version, row_number, stage, rule LIMIT 20
"""
DOCUMENTS = """
    SELECT DISTINCT document_kind FROM ledger.journal_entry
    WHERE entity = %s AND document_id = %s AND document_kind NOT IN ('sale', 'payout', 'remittance')
    ORDER BY document_kind
"""
MEMBER = """
    SELECT member_id FROM ops.sale WHERE member_id = %s
    UNION
    SELECT owner FROM ledger.account WHERE owner = %s AND kind LIKE 'cashback%%' AND kind NOT LIKE '%%cost'
"""
MEMBER_BALANCES = """
    SELECT kind, currency, -balance AS balance FROM mart.balance
    WHERE entity = %s AND owner = %s AND balance <> 0
    ORDER BY kind, currency
"""
MEMBER_PAYOUTS = """
    SELECT p.payout_id, p.state, p.amount_minor, p.currency, b.selected_for, p.batch_id
    FROM payout.payout AS p JOIN payout.batch AS b USING (batch_id)
    WHERE p.member_id = %s ORDER BY b.selected_for DESC, p.payout_id
"""
MEMBER_SALES = """
    SELECT sale_id, program_id, sale_on, outcome, rule, click_id FROM ops.sale WHERE member_id = %s
    ORDER BY sale_on DESC, sale_id
"""
CLICK_OF = "SELECT DISTINCT click_id FROM ops.sale WHERE click_id = %s"
SALE_BY_CLICK = "SELECT sale_id FROM ops.sale WHERE click_id = %s ORDER BY sale_id"
SALE = """
    SELECT sale_id, partner, partner_account, program_id, order_ref, occurred_at, outcome, rule, click_id, clicked_at,
        member_id, earns_cashback, is_payout_held
    FROM ops.sale WHERE sale_id = %s
"""
PAID_BY = """
    SELECT p.payout_id, p.member_id, p.currency, l.amount_minor, p.state, p.batch_id
    FROM payout.payout_line AS l
    JOIN payout.payout AS p ON p.payout_id = l.payout_id
    WHERE l.document_kind = 'sale' AND l.document_id = %s
    ORDER BY p.payout_id
"""
REMITTANCE = """
    SELECT m.*, f.name AS file, f.object_path
    FROM mart.remittance AS m
    JOIN ops.remittance AS r USING (partner_account, remittance_id, revision)
    JOIN ops.remittance_file AS f ON f.sha256 = r.file_sha256 AND f.partner_account = r.partner_account
    WHERE NOT m.is_superseded AND (m.remittance_id = %s OR m.partner_account || ':' || m.remittance_id = %s)
    ORDER BY m.partner_account, m.remittance_id
"""
REMITTANCE_LINES = """
    SELECT line_no, kind, transaction_id, line_id, payment_ref, amount, currency
    FROM ops.remittance_line WHERE partner_account = %s AND remittance_id = %s AND revision = %s
    ORDER BY line_no
"""
PAYS = """
    SELECT a.transaction_id, a.amount, a.rule,
        (SELECT min(v.sale_id) FROM ops.transaction_version AS v
         WHERE v.partner_account = a.partner_account AND v.transaction_id = a.transaction_id) AS sale_id
    FROM mart.remittance_allocation AS a
    WHERE a.partner_account = %s AND a.remittance_id = %s AND a.line_no = %s
    ORDER BY a.transaction_id, a.line_id
"""
PAID_FOR = """
    SELECT a.partner_account, a.remittance_id, a.line_no, a.transaction_id, a.amount, a.currency, a.rule, a.received_on,
        a.funded_on
    FROM mart.remittance_allocation AS a
    WHERE EXISTS (
        SELECT 1 FROM ops.transaction_version AS v
        WHERE v.partner_account = a.partner_account AND v.transaction_id = a.transaction_id AND v.sale_id = %s
    )
    ORDER BY a.received_on, a.partner_account, a.remittance_id, a.line_no, a.transaction_id
"""
POSTINGS = """
    SELECT year, number, leg, effective_for, booked_on, posted_at, debit_kind, debit_owner, credit_kind, credit_owner,
        amount, currency, component, base_amount, rate, run_id
    FROM mart.posting WHERE document_kind = %s AND document_id = %s
    ORDER BY year, number, leg
"""
VERSIONS = """
    SELECT transaction_id, line_id, version_no, effective_on, kind, status, raw_status, is_absent, partner_paid,
        sale_amount, commission_amount, currency, observed_at, delivery_id, row_number, content_hash
    FROM ops.transaction_version WHERE sale_id = %s
    ORDER BY transaction_id, line_id, version_no
"""
BREAKS = "SELECT kind, expected, found, amount, currency, opened_on FROM ops.break WHERE sale_id = %s ORDER BY kind"
DELIVERY = """
    SELECT d.partner_account, d.window_from, d.window_until, d.observed_at, d.sha256,
        (SELECT p.object_path FROM ops.parse AS p WHERE p.delivery_id = d.delivery_id
         ORDER BY p.parse_version DESC LIMIT 1) AS object_path
    FROM ops.delivery AS d WHERE d.delivery_id = %s
"""
PARTS = "SELECT name, media_type, sha256, object_path FROM ops.delivery_part WHERE delivery_id = %s ORDER BY part_no"
CLICK_DAY = "SELECT clicked_at::date AS day FROM ops.sale WHERE click_id = %s AND clicked_at IS NOT NULL LIMIT 1"
CLICK_FILES = """
    SELECT object_path FROM ops.tracked_file WHERE relation = 'click' AND (%s::date IS NULL OR day = %s)
    ORDER BY day, object_path
"""
SAID = {
    "opening": """
        SELECT f.owner, f.kind AS account, f.reference, f.as_of, f.revision, o.file_name, o.object_path, o.loaded_by,
            a.approved_by
        FROM ops.opening_in_force AS f
        JOIN ops.opening AS o ON o.opening_id = f.opening_id AND o.revision = f.revision
        JOIN ops.opening_approval AS a ON a.opening_id = f.opening_id AND a.revision = f.revision
        WHERE f.document_id = %s
    """,
    "adjustment": """
        SELECT a.kind, a.owner, a.account, a.currency, a.amount, a.effective_on, a.sale_id, a.reverses, a.reason,
            a.evidence_name, a.evidence_sha256, a.proposed_by, v.said_by AS approved_by
        FROM ops.adjustment AS a
        JOIN ops.adjustment_verdict AS v USING (adjustment_id)
        WHERE a.adjustment_id = %s
    """,
}
"""What people said of a document, by its kind."""

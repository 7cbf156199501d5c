-- purpose: all that the books of an entity follow from, at the moment they are closed: one line each.
-- grain: one input; of exchange rates one currency of a source.
-- reads: ops.delivery, ops.hold_release, ops.decision, ops.agreement, ops.remittance, ops.remittance_decision, ops.opening,
-- ops.opening_approval, ops.adjustment, ops.adjustment_verdict, ops.tracked_file,
-- ref.program, ref.cashback_rule, ref.contract_term, ref.correction, ref.correction_decision,
-- ref.fx_rate, ref.gl_map. Runs on PostgreSQL.
-- key: line.
WITH input AS (
    SELECT concat_ws(' ', 'delivery', delivery_id, partner_account, sha256) AS line FROM ops.delivery
    UNION ALL
    SELECT concat_ws(' ', 'release', delivery_id, parse_version, released_by) FROM ops.hold_release
    UNION ALL
    SELECT concat_ws(' ', 'decision', decision_id, kind, sale_id, click_id, undoes, decided_by, evidence_hash, amount,
                     currency, until_on, claim_amount, approved_amount, batch_id, needs_agreement)
    FROM ops.decision
    UNION ALL
    SELECT concat_ws(' ', 'agreement', decision_id, agreed_by) FROM ops.agreement
    UNION ALL
    SELECT concat_ws(' ', 'remittance', partner_account, remittance_id, revision, content_hash) FROM ops.remittance
    UNION ALL
    SELECT concat_ws(' ', 'remittance_decision', decision_id, kind, partner_account, remittance_id, revision, undoes,
                     decided_by)
    FROM ops.remittance_decision
    UNION ALL
    SELECT concat_ws(' ', 'opening', o.opening_id, o.revision, o.content_hash, o.loaded_by, a.approved_by)
    FROM ops.opening AS o
    JOIN ops.opening_approval AS a ON a.opening_id = o.opening_id AND a.revision = o.revision
    UNION ALL
    SELECT concat_ws(' ', 'adjustment', a.adjustment_id, a.kind, a.currency, a.amount, a.evidence_sha256, a.proposed_by,
                     v.verdict, v.said_by)
    FROM ops.adjustment AS a
    JOIN ops.adjustment_verdict AS v ON v.adjustment_id = a.adjustment_id
    UNION ALL
    SELECT concat_ws(' ', 'tracked', relation, source, object_path) FROM ops.tracked_file
    UNION ALL
    SELECT concat_ws(' ', 'program', program_id, valid_from, valid_until, currency, commission_rate, lookback_days,
                     validation_days)
    FROM ref.program
    UNION ALL
    SELECT concat_ws(' ', 'cashback_rule', rule_id, program_id, basis, value, coalesce(cap::text, '-'), currency,
                     rounding, valid_from, valid_until, coalesce(commission_group, '-'), component)
    FROM ref.cashback_rule
    UNION ALL
    SELECT concat_ws(' ', 'contract_term', term_id, program_id, coalesce(commission_group, '-'),
                     coalesce(customer_type, '-'), basis, value, currency, valid_from, valid_until)
    FROM ref.contract_term
    UNION ALL
    SELECT concat_ws(' ', 'correction', correction_id, relation, row_count, loaded_by) FROM ref.correction
    UNION ALL
    SELECT concat_ws(' ', 'correction_decision', decision_id, kind, correction_id, from_at, undoes, decided_by, effect_hash)
    FROM ref.correction_decision
    UNION ALL
    SELECT concat_ws(' ', 'gl_map', kind, gl_account, statement) FROM ref.gl_map WHERE entity = %(entity)s
    UNION ALL
    SELECT concat_ws(' ', 'fx_rate', source, base, quote, count(*), max(rate_on),
                     encode(sha256(convert_to(string_agg(rate_on || ' ' || rate, E'\n' ORDER BY rate_on), 'UTF8')),
                            'hex'))
    FROM ref.fx_rate
    GROUP BY source, base, quote
)
SELECT replace(line, E'\n', ' ') AS line
FROM input
ORDER BY line COLLATE "C"

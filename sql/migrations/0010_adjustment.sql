-- purpose: adjustments: what a person proposed to book by hand, with evidence, and what another person said of it.
-- reads: 0008. Forward only; run by Alembic as the owner.

CREATE TABLE ops.adjustment (
    adjustment_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('goodwill', 'bonus', 'referral', 'release', 'decline', 'receivable')),
    -- A member, or for a receivable a partner account.
    owner text NOT NULL CHECK (owner <> ''),
    -- The member's account that is credited, or that is released or declined from.
    account text CHECK (account IN ('cashback_pending', 'cashback_confirmed', 'cashback_payable')),
    currency text NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    amount numeric(18, 4) NOT NULL CHECK (amount <> 0),
    effective_on date NOT NULL,
    sale_id text,
    -- What the open break of the sale showed when it was proposed.
    break_evidence text CHECK (break_evidence IS NULL OR sale_id IS NOT NULL),
    reverses text REFERENCES ops.adjustment,
    reason text NOT NULL CHECK (reason <> ''),
    evidence_name text NOT NULL,
    evidence_sha256 text NOT NULL,
    evidence_path text NOT NULL,
    proposed_by text NOT NULL CHECK (proposed_by <> ''),
    proposed_at timestamp NOT NULL,
    run_id text NOT NULL,
    CHECK ((kind = 'receivable') = (account IS NULL)),
    CHECK (amount > 0 OR kind = 'receivable' OR reverses IS NOT NULL)
);

CREATE TABLE ops.adjustment_verdict (
    adjustment_id text PRIMARY KEY REFERENCES ops.adjustment,
    verdict text NOT NULL CHECK (verdict IN ('approved', 'rejected')),
    said_by text NOT NULL CHECK (said_by <> ''),
    said_at timestamp NOT NULL,
    reason text NOT NULL DEFAULT ''
);

CREATE FUNCTION ops.refuse_own_adjustment() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.verdict = 'approved' AND EXISTS (
        SELECT 1 FROM ops.adjustment AS a
        WHERE a.adjustment_id = NEW.adjustment_id AND ops.is_same_person(a.proposed_by, NEW.said_by)) THEN
        RAISE EXCEPTION 'whoever proposed an adjustment does not approve it (%)', NEW.adjustment_id;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_own_adjustment BEFORE INSERT ON ops.adjustment_verdict
    FOR EACH ROW EXECUTE FUNCTION ops.refuse_own_adjustment();

DO $$
DECLARE target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['ops.adjustment', 'ops.adjustment_verdict'] LOOP
        EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', target);
    END LOOP;
END $$;

CREATE VIEW ops.adjustment_in_force AS
SELECT a.adjustment_id, a.kind, a.owner, a.account, a.currency, a.amount, a.effective_on, a.sale_id, a.break_evidence,
       a.reverses, a.proposed_by, v.said_by AS approved_by
FROM ops.adjustment AS a
JOIN ops.adjustment_verdict AS v ON v.adjustment_id = a.adjustment_id AND v.verdict = 'approved';

-- An adjustment of a receivable is an item too, with what reverses it; a remittance may name it.
CREATE OR REPLACE VIEW ops.receivable_item AS
SELECT o.owner AS partner_account,
       CASE o.reference WHEN '' THEN 'opening:' || o.opening_id ELSE o.reference END AS transaction_id,
       'opening' AS document_kind, o.document_id, o.currency, o.amount, o.as_of
FROM ops.opening_in_force AS o
WHERE o.kind = 'commission_receivable' AND o.amount <> 0
UNION ALL
SELECT a.owner, coalesce(a.reverses, a.adjustment_id), 'adjustment', coalesce(a.reverses, a.adjustment_id), a.currency,
       sum(a.amount)::numeric(18, 4), min(a.effective_on)
FROM ops.adjustment_in_force AS a
WHERE a.kind = 'receivable'
GROUP BY a.owner, coalesce(a.reverses, a.adjustment_id), a.currency
HAVING sum(a.amount) <> 0;

GRANT SELECT ON ops.adjustment, ops.adjustment_verdict TO tallyback_pipeline;
GRANT SELECT, INSERT ON ops.adjustment, ops.adjustment_verdict TO tallyback_approver;
GRANT SELECT ON ops.adjustment_in_force TO tallyback_pipeline, tallyback_approver;

CREATE VIEW mart.adjustment AS
SELECT a.adjustment_id, a.kind, a.owner, a.account, a.currency, a.amount, a.effective_on, a.sale_id, a.reverses, a.reason,
       a.evidence_sha256, a.proposed_by, a.proposed_at, coalesce(v.verdict, 'proposed') AS state, v.said_by, v.said_at
FROM ops.adjustment AS a
LEFT JOIN ops.adjustment_verdict AS v ON v.adjustment_id = a.adjustment_id;
GRANT SELECT ON mart.adjustment TO tallyback_finance_read, tallyback_pipeline, tallyback_approver;

-- purpose: decisions by the break they are about, in batches, above a limit agreed by a second person; and what they say of a break.
-- reads: 0001, 0006. Forward only.

ALTER TABLE ops.decision
    DROP CONSTRAINT decision_kind_check,
    -- A conversion that was never reported, or a remittance, has no sale.
    ALTER COLUMN sale_id DROP NOT NULL,
    -- The break: its natural key, and what it said when the person saw it.
    ADD COLUMN partner_account text,
    ADD COLUMN transaction_id text,
    ADD COLUMN line_id text,
    ADD COLUMN break_kind text,
    ADD COLUMN expected text,
    ADD COLUMN found text,
    ADD COLUMN amount numeric(18, 4),
    ADD COLUMN currency text,
    ADD COLUMN until_on date,
    ADD COLUMN claim_amount numeric(18, 4) CHECK (claim_amount > 0),
    -- The approved commission that a write-off covers: what is approved beyond it is another question.
    ADD COLUMN approved_amount numeric(18, 4),
    ADD COLUMN batch_id text,
    -- Above the limit of its day: it acts on nothing until another person agrees.
    ADD COLUMN needs_agreement boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT decision_kind_check CHECK (kind IN
        ('accept_click', 'no_cashback', 'release_hold', 'wait', 'dispute', 'write_off', 'undo')),
    ADD CONSTRAINT decision_undoes_check CHECK ((undoes IS NOT NULL) = (kind = 'undo') AND undoes <> decision_id),
    ADD CONSTRAINT decision_until_check CHECK ((until_on IS NOT NULL) = (kind = 'wait')),
    ADD CONSTRAINT decision_claim_check CHECK (claim_amount IS NULL OR kind = 'dispute'),
    ADD CONSTRAINT decision_approved_check CHECK ((approved_amount IS NOT NULL) = (kind = 'write_off')),
    ADD CONSTRAINT decision_write_off_check CHECK
        (kind <> 'write_off' OR (amount > 0 AND currency IS NOT NULL AND sale_id IS NOT NULL)),
    ADD CONSTRAINT decision_break_check CHECK (
        (break_kind IS NULL) = (partner_account IS NULL) AND (break_kind IS NULL) = (transaction_id IS NULL)
        AND (break_kind IS NULL) = (line_id IS NULL) AND (kind NOT IN ('wait', 'dispute', 'write_off') OR break_kind IS NOT NULL)),
    ADD CONSTRAINT decision_agreement_key UNIQUE (decision_id, decided_by, needs_agreement);
CREATE INDEX decision_undoes ON ops.decision (undoes) WHERE undoes IS NOT NULL;
CREATE INDEX decision_sale ON ops.decision (sale_id);
CREATE INDEX decision_break ON ops.decision (partner_account, transaction_id, line_id, break_kind);
CREATE INDEX decision_batch ON ops.decision (batch_id) WHERE batch_id IS NOT NULL;

-- One person cannot be two by spelling the name differently; see etl/core/approval.py.
CREATE FUNCTION ops.identity(person text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT lower(btrim(regexp_replace(normalize(person, NFKC), '\s+', ' ', 'g')))
$$;

CREATE TABLE ops.agreement (
    decision_id text PRIMARY KEY,
    decided_by text NOT NULL,
    agreed_by text NOT NULL CHECK (agreed_by <> ''),
    agreed_at timestamp NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    needs_agreement boolean NOT NULL DEFAULT true CHECK (needs_agreement),
    FOREIGN KEY (decision_id, decided_by, needs_agreement)
        REFERENCES ops.decision (decision_id, decided_by, needs_agreement),
    CONSTRAINT agreement_by_another CHECK (ops.identity(agreed_by) <> ops.identity(decided_by))
);
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ops.agreement
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

-- Undone by an undo that acts and is not undone itself, however deep that goes; as we knew at an instant, or (null) now.
CREATE FUNCTION ops.is_undone(decision text, known timestamp DEFAULT NULL) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (
        SELECT 1
        FROM ops.decision AS u
        LEFT JOIN ops.agreement AS a ON a.decision_id = u.decision_id AND (known IS NULL OR a.agreed_at <= known)
        WHERE u.undoes = decision AND (known IS NULL OR u.decided_at <= known)
            AND (a.decision_id IS NOT NULL OR NOT u.needs_agreement)
            AND NOT ops.is_undone(u.decision_id, known)
    );
END $$;

-- The decisions that act: agreed where that is needed, and not undone.
CREATE VIEW ops.decision_in_force AS
SELECT d.decision_id, d.kind, d.sale_id, d.click_id, d.decided_by, d.decided_at, d.reason, d.evidence_hash,
       d.partner_account, d.transaction_id, d.line_id, d.break_kind, d.expected, d.found, d.amount, d.currency,
       d.until_on, d.claim_amount, d.approved_amount, d.batch_id, a.agreed_by, a.agreed_at,
       coalesce(a.agreed_at, d.decided_at) AS acts_at
FROM ops.decision AS d
LEFT JOIN ops.agreement AS a ON a.decision_id = d.decision_id
WHERE d.kind <> 'undo' AND (a.decision_id IS NOT NULL OR NOT d.needs_agreement)
    AND NOT (EXISTS (SELECT 1 FROM ops.decision AS u WHERE u.undoes = d.decision_id) AND ops.is_undone(d.decision_id));

-- What waits for a second person, undos among it; an undo of a proposal refuses or withdraws it.
CREATE VIEW ops.proposal AS
SELECT d.decision_id, d.kind, d.sale_id, d.click_id, d.undoes, d.decided_by, d.decided_at, d.reason, d.evidence_hash,
       d.partner_account, d.transaction_id, d.line_id, d.break_kind, d.expected, d.found, d.amount, d.currency,
       d.until_on, d.claim_amount, d.approved_amount, d.batch_id
FROM ops.decision AS d
WHERE d.needs_agreement AND NOT EXISTS (SELECT 1 FROM ops.agreement AS a WHERE a.decision_id = d.decision_id)
    AND NOT (EXISTS (SELECT 1 FROM ops.decision AS u WHERE u.undoes = d.decision_id) AND ops.is_undone(d.decision_id));

-- What people said of the breaks that are open: the word that counts on a day, for each break of which anything was said.
-- A decision covers what it saw: the same evidence, and no more money. What it saw and no longer is makes an open break.
CREATE FUNCTION ops.stated_break(on_day date, known timestamp DEFAULT NULL)
RETURNS TABLE (
    partner_account text, transaction_id text, line_id text, kind text, state text, decision_id text,
    decision_kind text, decided_by text, decided_at timestamp, agreed_by text, reason text, until_on date,
    claim_amount numeric, seen_expected text, seen_found text, seen_amount numeric, seen_currency text,
    is_covering boolean, is_proposed boolean
) LANGUAGE sql STABLE AS $$
    WITH said AS (
        SELECT d.decision_id, d.kind, d.decided_by, d.decided_at, a.agreed_by,
               coalesce(a.agreed_at, d.decided_at) AS acts_at, d.reason, d.until_on, d.claim_amount,
               d.partner_account, d.transaction_id, d.line_id, d.break_kind, d.evidence_hash, d.expected, d.found,
               d.amount, d.currency, d.needs_agreement AND a.decision_id IS NULL AS is_proposed
        FROM ops.decision AS d
        LEFT JOIN ops.agreement AS a ON a.decision_id = d.decision_id AND (known IS NULL OR a.agreed_at <= known)
        WHERE d.kind <> 'undo' AND d.break_kind IS NOT NULL AND (known IS NULL OR d.decided_at <= known)
            AND NOT (EXISTS (SELECT 1 FROM ops.decision AS u WHERE u.undoes = d.decision_id)
                     AND ops.is_undone(d.decision_id, known))
    ),
    weighed AS (
        SELECT s.*, b.evidence_hash = s.evidence_hash
                   AND coalesce(abs(b.amount), 0) <= coalesce(abs(s.amount), 0) AS is_covering,
               CASE WHEN s.kind = 'wait' AND s.until_on <= on_day THEN 3 WHEN s.kind IN ('wait', 'dispute') THEN 2
                    ELSE 0 END AS place
        FROM said AS s
        JOIN ops.break AS b
            ON b.partner_account = s.partner_account AND b.transaction_id = s.transaction_id
            AND b.line_id = s.line_id AND b.kind = s.break_kind
    )
    SELECT DISTINCT ON (w.partner_account, w.transaction_id, w.line_id, w.break_kind)
           w.partner_account, w.transaction_id, w.line_id, w.break_kind,
           CASE WHEN NOT w.is_covering THEN 'open' WHEN w.is_proposed THEN 'proposed' WHEN w.place = 3 THEN 'open'
                WHEN w.kind = 'wait' THEN 'waiting' WHEN w.kind = 'dispute' THEN 'disputed' ELSE 'decided' END,
           w.decision_id, w.kind, w.decided_by, w.decided_at, w.agreed_by, w.reason, w.until_on, w.claim_amount,
           w.expected, w.found, w.amount, w.currency, w.is_covering, w.is_proposed
    FROM weighed AS w
    -- What acts on the books goes before what is proposed, that before what keeps quiet; then the last word.
    ORDER BY w.partner_account, w.transaction_id, w.line_id, w.break_kind, w.is_covering DESC,
             CASE WHEN w.is_proposed THEN 1 ELSE w.place END, w.acts_at DESC, w.decision_id DESC
$$;

GRANT SELECT ON ops.agreement, ops.decision_in_force, ops.proposal TO tallyback_pipeline, tallyback_approver;
GRANT INSERT ON ops.agreement TO tallyback_approver;

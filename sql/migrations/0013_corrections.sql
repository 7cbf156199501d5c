-- purpose: corrections of cashback rules and contract terms: loaded, and in force only where a person says from when.
-- reads: 0001, 0009, 0012. Forward only.

-- A correction is a set of rules or terms as they should have been.
CREATE TABLE ref.correction (
    correction_id text PRIMARY KEY,
    relation text NOT NULL CHECK (relation IN ('cashback_rule', 'contract_term')),
    file_name text NOT NULL,
    row_count integer NOT NULL CHECK (row_count > 0),
    loaded_by text NOT NULL CHECK (loaded_by <> ''),
    loaded_at timestamp NOT NULL
);
CREATE TABLE ref.cashback_rule_correction (
    correction_id text NOT NULL REFERENCES ref.correction,
    LIKE ref.cashback_rule INCLUDING CONSTRAINTS,
    PRIMARY KEY (correction_id, rule_id)
);
CREATE TABLE ref.contract_term_correction (
    correction_id text NOT NULL REFERENCES ref.correction,
    LIKE ref.contract_term INCLUDING CONSTRAINTS,
    PRIMARY KEY (correction_id, term_id)
);

-- What a person said of one: it holds for clicks from an instant on, its effect seen before. Undone only by another.
CREATE TABLE ref.correction_decision (
    decision_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('apply', 'undo')),
    correction_id text NOT NULL REFERENCES ref.correction,
    from_at timestamp,
    undoes text UNIQUE REFERENCES ref.correction_decision,
    effect_hash text NOT NULL CHECK (effect_hash ~ '^[0-9a-f]{64}$'),
    decided_by text NOT NULL CHECK (decided_by <> ''),
    decided_at timestamp NOT NULL,
    reason text NOT NULL CHECK (reason <> ''),
    CHECK ((kind = 'apply') = (from_at IS NOT NULL)),
    CHECK ((kind = 'undo') = (undoes IS NOT NULL))
);

DO $$
DECLARE target text;
BEGIN
    FOREACH target IN ARRAY ARRAY['ref.correction', 'ref.cashback_rule_correction', 'ref.contract_term_correction',
                                  'ref.correction_decision'] LOOP
        EXECUTE format('CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
                       'FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change()', target);
        EXECUTE format('GRANT SELECT ON %s TO tallyback_pipeline', target);
        EXECUTE format('GRANT SELECT, INSERT ON %s TO tallyback_approver', target);
    END LOOP;
END $$;

CREATE VIEW ref.correction_applied AS
SELECT d.decision_id, d.correction_id, d.from_at, row_number() OVER (ORDER BY d.decided_at, d.decision_id) AS place
FROM ref.correction_decision AS d
WHERE d.kind = 'apply' AND NOT EXISTS (SELECT 1 FROM ref.correction_decision AS u WHERE u.undoes = d.decision_id);

-- Every edition of a rule with the instant from which it counts: the rule as it was loaded from ever, then corrections, of
-- which the one decided last counts. Between two such instants one edition holds, within its own validity.
CREATE VIEW ref.cashback_rule_in_force AS
WITH edition AS (
    SELECT 0 AS place, '-infinity'::timestamp AS from_at, r.rule_id, r.program_id, r.basis, r.value, r.cap, r.currency,
        r.rounding, r.valid_from, r.valid_until, r.commission_group, r.component
    FROM ref.cashback_rule AS r
    UNION ALL
    SELECT a.place, a.from_at, c.rule_id, c.program_id, c.basis, c.value, c.cap, c.currency, c.rounding, c.valid_from,
        c.valid_until, c.commission_group, c.component
    FROM ref.correction_applied AS a
    JOIN ref.cashback_rule_correction AS c USING (correction_id)
),
span AS (
    SELECT rule_id, from_at, lead(from_at) OVER (PARTITION BY rule_id ORDER BY from_at) AS until_at
    FROM (SELECT DISTINCT rule_id, from_at FROM edition) AS cut
),
chosen AS (
    SELECT DISTINCT ON (s.rule_id, s.from_at) s.until_at AS span_until, s.from_at AS span_from, e.*
    FROM span AS s
    JOIN edition AS e ON e.rule_id = s.rule_id AND e.from_at <= s.from_at
    ORDER BY s.rule_id, s.from_at, e.place DESC
)
SELECT rule_id, program_id, basis, value, cap, currency, rounding, greatest(valid_from, span_from) AS valid_from,
    least(valid_until, span_until) AS valid_until, commission_group, component
FROM chosen
WHERE coalesce(least(valid_until, span_until), 'infinity') > greatest(valid_from, span_from);

CREATE VIEW ref.contract_term_in_force AS
WITH edition AS (
    SELECT 0 AS place, '-infinity'::timestamp AS from_at, t.term_id, t.program_id, t.commission_group, t.customer_type,
        t.basis, t.value, t.currency, t.valid_from, t.valid_until
    FROM ref.contract_term AS t
    UNION ALL
    SELECT a.place, a.from_at, c.term_id, c.program_id, c.commission_group, c.customer_type, c.basis, c.value,
        c.currency, c.valid_from, c.valid_until
    FROM ref.correction_applied AS a
    JOIN ref.contract_term_correction AS c USING (correction_id)
),
span AS (
    SELECT term_id, from_at, lead(from_at) OVER (PARTITION BY term_id ORDER BY from_at) AS until_at
    FROM (SELECT DISTINCT term_id, from_at FROM edition) AS cut
),
chosen AS (
    SELECT DISTINCT ON (s.term_id, s.from_at) s.until_at AS span_until, s.from_at AS span_from, e.*
    FROM span AS s
    JOIN edition AS e ON e.term_id = s.term_id AND e.from_at <= s.from_at
    ORDER BY s.term_id, s.from_at, e.place DESC
)
SELECT term_id, program_id, commission_group, customer_type, basis, value, currency,
    greatest(valid_from, span_from) AS valid_from, least(valid_until, span_until) AS valid_until
FROM chosen
WHERE coalesce(least(valid_until, span_until), 'infinity') > greatest(valid_from, span_from);

GRANT SELECT ON ref.correction_applied, ref.cashback_rule_in_force, ref.contract_term_in_force
    TO tallyback_pipeline, tallyback_approver;

-- purpose: periods that move only forward, and a ledger that refuses whatever would change a closed one.
-- reads: ref.period. Forward only; run by Alembic as the owner.

-- Who moved a period, when, and for a closed one the record of all that went into it. Append only.
CREATE TABLE ledger.period_event (
    entity text NOT NULL,
    starts_on date NOT NULL CHECK (extract(day FROM starts_on) = 1),
    state text NOT NULL CHECK (state IN ('closing', 'closed')),
    moved_by text NOT NULL CHECK (moved_by <> ''),
    moved_at timestamp NOT NULL,
    record text,
    hash text,
    PRIMARY KEY (entity, starts_on, state),
    CHECK ((state = 'closed') = (record IS NOT NULL)),
    CHECK ((record IS NULL) = (hash IS NULL)),
    CHECK (hash = encode(sha256(convert_to(record, 'UTF8')), 'hex'))
);
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.period_event
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();

CREATE FUNCTION ledger.refuse_backward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP IN ('DELETE', 'TRUNCATE') THEN
        RAISE EXCEPTION 'a period is never deleted (% on %)', TG_OP, TG_TABLE_NAME;
    END IF;
    -- Whoever posts holds this shared until they commit: no entry slips into a period while it is being closed.
    PERFORM pg_advisory_xact_lock(7415927);
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.entity, NEW.starts_on) IS DISTINCT FROM (OLD.entity, OLD.starts_on) THEN
            RAISE EXCEPTION 'a period keeps its entity and its month (% of %)', OLD.starts_on, OLD.entity;
        END IF;
        IF (OLD.state, NEW.state) NOT IN (('open', 'closing'), ('closing', 'closed')) AND OLD.state <> NEW.state THEN
            RAISE EXCEPTION 'a period moves from open to closing to closed and never back (% of %: % to %)',
                OLD.starts_on, OLD.entity, OLD.state, NEW.state;
        END IF;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER refuse_backward BEFORE INSERT OR UPDATE OR DELETE ON ref.period
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_backward();
CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON ref.period
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_backward();

-- A month is closed with all months before it. Once for each statement, over the rows it wrote: row by row a bulk load would take several times as long.
CREATE FUNCTION ledger.refuse_closed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE closed record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(7415927);
    SELECT p.entity, p.starts_on, p.state, w.document_kind
    INTO closed
    FROM (SELECT DISTINCT entity, booked_on, document_kind FROM written) AS w
    JOIN ref.period AS p ON p.entity = w.entity AND p.starts_on >= date_trunc('month', w.booked_on)::date
    -- What is booked before a closed month would change its balances, whether or not its own month was ever closed.
    WHERE p.state = 'closed'
        OR (p.state = 'closing' AND p.starts_on = date_trunc('month', w.booked_on)::date
            AND w.document_kind NOT IN ('adjustment', 'revaluation'))
    ORDER BY p.starts_on
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'period % of % is %: a % is booked in the next open one, with its effective_for',
            to_char(closed.starts_on, 'YYYY-MM'), closed.entity, closed.state, closed.document_kind;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER refuse_closed AFTER INSERT ON ledger.journal_entry
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_closed();
CREATE TRIGGER refuse_closed AFTER INSERT ON ledger.posting
    REFERENCING NEW TABLE AS written FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_closed();

-- The pipeline is nobody: it can neither begin nor finish a close.
REVOKE INSERT, UPDATE, DELETE ON ref.period FROM tallyback_pipeline;
GRANT SELECT ON ledger.period_event TO tallyback_pipeline;
GRANT SELECT, INSERT ON ledger.period_event TO tallyback_approver;
GRANT INSERT, UPDATE ON ref.period TO tallyback_approver;
GRANT SELECT ON ledger.posting, ledger.account TO tallyback_approver;

CREATE VIEW mart.period AS
SELECT p.entity, p.starts_on, p.state, b.moved_by AS begun_by, b.moved_at AS begun_at, f.moved_by AS closed_by,
       f.moved_at AS closed_at, f.hash AS record_hash
FROM ref.period AS p
LEFT JOIN ledger.period_event AS b ON b.entity = p.entity AND b.starts_on = p.starts_on AND b.state = 'closing'
LEFT JOIN ledger.period_event AS f ON f.entity = p.entity AND f.starts_on = p.starts_on AND f.state = 'closed';
GRANT SELECT ON mart.period TO tallyback_finance_read, tallyback_pipeline, tallyback_approver;

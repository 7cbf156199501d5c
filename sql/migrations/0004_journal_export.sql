-- purpose: what was handed to the general ledger of a closed month: its bytes and the map they were made with.
-- reads: nothing. Forward only; run by Alembic as the owner.
CREATE TABLE ops.journal_export (
    entity text NOT NULL,
    starts_on date NOT NULL CHECK (extract(day FROM starts_on) = 1),
    sha256 text NOT NULL,
    gl_map text NOT NULL,
    exported_at timestamp NOT NULL,
    exported_by text NOT NULL,
    run_id text NOT NULL,
    PRIMARY KEY (entity, starts_on)
);
CREATE TRIGGER refuse_change BEFORE UPDATE OR DELETE OR TRUNCATE ON ops.journal_export
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.refuse_change();
GRANT SELECT, INSERT ON ops.journal_export TO tallyback_pipeline;
GRANT SELECT ON ops.journal_export TO tallyback_approver;

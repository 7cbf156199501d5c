-- purpose: what only a person may say is out of reach of the pipeline: decisions about breaks, releases of held deliveries.
-- reads: nothing. Forward only; run by Alembic as the owner.
-- Who decided or released cannot approve a payout of it, and that is looked up in these rows: whoever could write them
-- could also write somebody else's name there.
REVOKE INSERT, UPDATE, DELETE ON ops.decision, ops.hold_release FROM tallyback_pipeline;

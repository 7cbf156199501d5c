-- purpose: the pipeline numbers new accounts itself, so that a bulk of them need not be read back after they are copied.
-- reads: 0001. Forward only.

GRANT USAGE, UPDATE ON SEQUENCE ledger.account_account_id_seq TO tallyback_pipeline;

-- purpose: balances as of any pair of days: until when it is true or booked, and until when we knew.
-- reads: mart.movement. Forward only; run by Alembic as the owner.
-- known_at is compared with posted_at; without one, all that is known now counts.

CREATE FUNCTION mart.balance_effective(as_of date, known_at timestamp DEFAULT NULL)
RETURNS TABLE (entity text, kind text, owner text, currency text, scale integer, balance_minor numeric, balance numeric,
               base_balance numeric)
LANGUAGE sql STABLE AS $$
    SELECT m.entity, m.kind, m.owner, m.currency, m.scale, sum(m.amount_minor), sum(m.amount), sum(m.base_amount)
    FROM mart.movement AS m
    WHERE m.effective_for <= balance_effective.as_of
        AND (balance_effective.known_at IS NULL OR m.posted_at <= balance_effective.known_at)
    GROUP BY m.entity, m.kind, m.owner, m.currency, m.scale
$$;
COMMENT ON FUNCTION mart.balance_effective(date, timestamp) IS
    'What was true at the end of as_of (effective_for), as we knew it at known_at (posted_at, UTC).';

CREATE FUNCTION mart.balance_booked(as_of date, known_at timestamp DEFAULT NULL)
RETURNS TABLE (entity text, kind text, owner text, currency text, scale integer, balance_minor numeric, balance numeric,
               base_balance numeric)
LANGUAGE sql STABLE AS $$
    SELECT m.entity, m.kind, m.owner, m.currency, m.scale, sum(m.amount_minor), sum(m.amount), sum(m.base_amount)
    FROM mart.movement AS m
    WHERE m.booked_on <= balance_booked.as_of
        AND (balance_booked.known_at IS NULL OR m.posted_at <= balance_booked.known_at)
    GROUP BY m.entity, m.kind, m.owner, m.currency, m.scale
$$;
COMMENT ON FUNCTION mart.balance_booked(date, timestamp) IS
    'What the books of all periods up to as_of say (booked_on), as we knew it at known_at (posted_at, UTC).';

GRANT EXECUTE ON FUNCTION mart.balance_effective(date, timestamp), mart.balance_booked(date, timestamp)
    TO tallyback_finance_read, tallyback_pipeline, tallyback_approver;

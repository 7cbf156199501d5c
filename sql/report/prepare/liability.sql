-- purpose: each member's balance in each state, laid over age: what is taken off takes the oldest first.
-- grain, key: kind, member_id, currency, scale. Reads: report_open_document.
-- The share of a document in the balance is what is left of it when the balance is filled from the newest backwards,
-- so that the ages always add up to the balance, whatever documents took from it.
WITH balanced AS (
    SELECT o.*, sum(o.amount) OVER one_member AS balance
    FROM report_open_document AS o
    JOIN report_account_kind AS a ON a.kind = o.kind AND a.part = 'members'
    WINDOW one_member AS (PARTITION BY o.kind, o.owner, o.currency, o.scale)
),
newest_first AS (
    SELECT balanced.*,
           CASE WHEN sign(amount) = sign(balance) THEN abs(amount) ELSE 0 END AS size,
           sum(CASE WHEN sign(amount) = sign(balance) THEN abs(amount) ELSE 0 END) OVER (
               PARTITION BY kind, owner, currency, scale
               ORDER BY aged_from DESC, document_kind DESC, document_id DESC) AS reached
    FROM balanced
),
shared AS (
    SELECT newest_first.*, greatest(%(closing_on)s - aged_from, 0) AS age_days,
           greatest(least(size, abs(balance) - (reached - size)), 0) AS share
    FROM newest_first
)
SELECT kind, owner AS member_id, currency, scale, sum(amount) AS amount, sum(base) AS base,
       sum(without_base) AS without_base, sum(last_amount) AS last_amount,
       coalesce(sum(share) FILTER (WHERE age_days <= 30), 0) AS age_30,
       coalesce(sum(share) FILTER (WHERE age_days BETWEEN 31 AND 60), 0) AS age_60,
       coalesce(sum(share) FILTER (WHERE age_days BETWEEN 61 AND 90), 0) AS age_90,
       coalesce(sum(share) FILTER (WHERE age_days BETWEEN 91 AND 180), 0) AS age_180,
       coalesce(sum(share) FILTER (WHERE age_days > 180), 0) AS age_more
FROM shared
GROUP BY kind, owner, currency, scale

-- purpose: what happened to payouts, as known: an event is known when its posting is.
-- grain, key: payout_id, event_no. Reads: payout.event, ledger.journal_entry.
-- Every event of a payout makes one journal entry of it, with the same number.
SELECT e.payout_id, e.event_no, e.event, e.happened_on
FROM payout.event AS e
LEFT JOIN ledger.journal_entry AS j
    ON j.document_kind = 'payout' AND j.document_id = e.payout_id AND j.entry_no = e.event_no
WHERE (%(known)s::timestamp IS NULL OR j.posted_at <= %(known)s)

-- purpose: the currencies payouts were made in, whose digits after the point the report must know.
-- grain, key: currency. Reads: payout.batch, payout.payout.
SELECT currency FROM payout.batch UNION SELECT currency FROM payout.payout ORDER BY currency

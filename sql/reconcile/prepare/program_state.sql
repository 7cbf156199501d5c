-- purpose: the states that programs had, and whether the partner's number of one ever meant anything else.
-- grain: one state of one program.
-- reads: program.
-- key: partner, partner_program_id, program_id, valid_from.
-- Most programs never changed (is_lasting): a sale has one state of them or none, and nothing is to be put in order.
SELECT partner, partner_program_id, program_id, merchant_id, currency, commission_rate, lookback_days, valid_from,
    valid_until, count(*) OVER (PARTITION BY partner, partner_program_id) = 1 AS is_lasting
FROM program
ORDER BY partner, partner_program_id, program_id, valid_from

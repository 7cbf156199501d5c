-- purpose: how each kind of ledger account is read in a report: on which side it grows, and its place on the page.
-- grain, key: kind. Reads: nothing.
-- A pair is the account of what is pending and the one of what is approved: a sale moves from the first to the second.
SELECT k.place, k.kind, k.side, k.part, k.label, k.pair, k.is_pending
FROM (VALUES
    (1, 'commission_expected', 1, 'partners', 'Commission expected (pending at partners)', 'commission', true),
    (2, 'commission_receivable', 1, 'partners', 'Commission receivable (approved, not yet paid to us)', 'commission',
     false),
    (3, 'cashback_pending', -1, 'members', 'Cashback pending', 'cashback', true),
    (4, 'cashback_confirmed', -1, 'members', 'Cashback confirmed', 'cashback', false),
    (5, 'cashback_payable', -1, 'members', 'Cashback payable', NULL, NULL),
    (6, 'payout_reserved', -1, 'members', 'Reserved for a payout', NULL, NULL),
    (7, 'payout_in_flight', -1, 'members', 'In flight (sent, not yet confirmed paid)', NULL, NULL),
    (8, 'bank', 1, 'money', 'Bank', NULL, NULL),
    (9, 'partner_clearing', 1, 'money', 'Partner clearing', NULL, NULL),
    (10, 'commission_expected_contra', -1, 'result', 'Commission expected, contra', 'income', true),
    (11, 'commission_income', -1, 'result', 'Commission income', 'income', false),
    (12, 'cashback_expected_cost', 1, 'result', 'Cashback cost expected', 'cost', true),
    (13, 'cashback_cost', 1, 'result', 'Cashback cost', 'cost', false),
    (14, 'border', 1, 'conversion', 'Border between assets', NULL, NULL),
    (15, 'fx_position', 1, 'conversion', 'FX position', NULL, NULL),
    (16, 'open_item_valuation', 1, 'conversion', 'Valuation of open items in other currencies', NULL, NULL),
    (17, 'fx_unrealised', -1, 'conversion', 'FX, unrealised', NULL, NULL),
    (18, 'goodwill_cost', 1, 'result', 'Goodwill and bonuses given', NULL, NULL),
    (19, 'clawback_write_off', 1, 'result', 'Debts of members written off', NULL, NULL),
    (20, 'opening', -1, 'result', 'Opening balances, other side', NULL, NULL),
    (21, 'bad_debt', 1, 'result', 'Commission written off', NULL, NULL)
) AS k (place, kind, side, part, label, pair, is_pending)
ORDER BY k.place

-- purpose: cashback rules by commission group, and bonuses as a component of their own.
-- reads: 0001. Forward only.

ALTER TABLE ref.cashback_rule
    ADD COLUMN commission_group text CHECK (commission_group <> ''),
    ADD COLUMN component text NOT NULL DEFAULT 'cashback' CHECK (component IN ('cashback', 'bonus'));

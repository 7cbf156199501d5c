"""SEPA credit transfers: payments, the bank's rules, the pain.001 file, and an independent reader of that file.

`prepare` (rules) turns payouts into payments a bank accepts and lists what it does not; `write` makes the file;
`read` reads it again and shares no code with the two, so that a fault in one is found by the other.
"""

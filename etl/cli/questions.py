"""Commands that answer questions: what must be looked at, where a cent comes from, what is missing here."""

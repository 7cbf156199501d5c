"""Who we talk to: partners, click sources, payout providers, and how bytes travel."""

"""Point stores: projections of the ledger that can be rebuilt."""

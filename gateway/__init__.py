"""Central gateway: verifies batches, keeps the ledger, projects the store, writes month reports."""

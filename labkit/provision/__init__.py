"""Provisioning steps: idempotent, recorded in the ledger, undone in reverse; audit and preflight checks."""

//! Checks that any backend keeps the contract.

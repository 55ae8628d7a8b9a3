//! Dump files: read, write, replace atomically. No store, no wire.

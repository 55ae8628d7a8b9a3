//! Records in memory, shared by all workers. No wire types, no files.

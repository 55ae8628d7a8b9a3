//! The programs around the node.

//! One base backup from start to finish.

//! The backup manifest.

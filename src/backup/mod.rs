//! One base backup from start to finish.

pub mod member_injection;
pub mod recovery_injection;
pub mod verify_in_flight;

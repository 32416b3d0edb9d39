//! What was moved for whom: counters of what receivers verified.

pub mod meter;

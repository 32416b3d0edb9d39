//! The Blackhole protocol: decisions without IO, clock or randomness of their own.

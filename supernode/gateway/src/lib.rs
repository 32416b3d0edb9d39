//! The supernode's HTTP edge.

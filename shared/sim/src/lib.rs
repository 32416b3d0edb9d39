//! Virtual time, network and disk that run the same peers as the real shells, from one seed.

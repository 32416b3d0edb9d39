//! What every part of a supernode stands on: configuration that says where it is wrong, keys, grants and files
//! that are written whole or not at all, a data directory that one process at a time owns, and the one way in for HTTP.
//!
//! Not here: anything only one service needs.

mod clock;
mod config;
mod data_dir;
pub mod grants;
pub mod http;
mod key_file;
mod whole_file;

pub use clock::unix_now;
pub use config::{ConfigError, load};
pub use data_dir::{DataDir, DataDirError};
pub use key_file::{
    create_account_key, create_key, load_account_key, load_key, load_or_create_account_key,
    load_or_create_key, random_seed, read_secret_file,
};
pub use whole_file::{sync_directory, write_whole};

//! `blackhole storage key`: access keys for the S3 door. Works beside a running node, which sees the change at once.

use std::io::Write as _;

use serde_json::json;
use storage::s3::AccessKeys;

use crate::config::Config;

fn keys(config: &Config) -> anyhow::Result<AccessKeys> {
    let data_dir = &config.node.data_dir;
    // The node's key makes the secrets, so it has to be there before the first of them.
    std::fs::create_dir_all(data_dir)?;
    let node = runtime::load_or_create_key(&data_dir.join(crate::wire_up::KEY_FILE))?;
    AccessKeys::open(data_dir, &node)
}

/// Makes a key, and prints both halves as one line of JSON.
pub(crate) fn create(config: &Config, account: &str) -> anyhow::Result<()> {
    let (key, secret) = keys(config)?.create(account)?;
    let line = json!({
        "access_key_id": key.id,
        "secret_access_key": secret,
        "account": key.account,
    });
    println!("{line}");
    eprintln!("The secret is shown this once.");
    Ok(())
}

/// Prints the keys, one line of JSON each, without their secrets.
pub(crate) fn list(config: &Config) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    for key in keys(config)?.list()? {
        let line = json!({ "access_key_id": key.id, "account": key.account, "created_unix": key.created });
        writeln!(stdout, "{line}")?;
    }
    Ok(())
}

/// Ends a key.
pub(crate) fn revoke(config: &Config, id: &str) -> anyhow::Result<()> {
    keys(config)?.revoke(id)
}

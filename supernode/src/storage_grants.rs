//! `blackhole storage grant`: made, narrowed, turned into access keys and taken back, with no node asked.

use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use prost::Message as _;
use runtime::grants::{self, AccessKeys, Revoked, Scope, Token};
use serde_json::json;
use shared::{base::UnixSeconds, identity::PublicKey, wire::economy::SignedRevocation};
use storage::s3::{GRANT_OPERATIONS, GRANT_SERVICE};

use crate::config::Config;

const HOUR_SECONDS: u64 = 3600;

/// What is to be done with grants.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Make a grant. Nodes that name the key's `did:key` among `[storage.issuers]` take it.
    Issue {
        /// The issuer's key, as `blackhole key new` makes it.
        #[arg(long)]
        key: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Narrow a grant: what comes out allows what both allow. Needs no key.
    Narrow {
        /// The grant.
        token: String,
        #[command(flatten)]
        reach: Reach,
    },
    /// Derive S3 access keys from a grant, good at one node.
    Keys {
        /// The grant.
        token: String,
        /// The node's key, as its `ready` line and its edge name it: `did:key:…`.
        #[arg(long)]
        node: PublicKey,
    },
    /// Take a grant back, and with it all that was made of it. Prints what to tell every node.
    Revoke {
        /// The grant.
        token: String,
        /// Its issuer's key.
        #[arg(long)]
        key: PathBuf,
    },
    /// Tell a node of this machine what was revoked. It counts from the next request on.
    Hear {
        /// The node's configuration.
        #[arg(long, env = "BLACKHOLE_CONFIG")]
        config: PathBuf,
        /// What `revoke` printed.
        revocation: String,
    },
}

/// How far a grant goes.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// The bucket.
    #[arg(long)]
    bucket: String,
    /// What the keys begin with; it ends in `/`. The whole bucket without.
    #[arg(long, conflicts_with = "object")]
    prefix: Option<String>,
    /// One object's key.
    #[arg(long)]
    object: Option<String>,
    /// What may be done: read, write, list, delete.
    #[arg(long, value_delimiter = ',', required = true)]
    allow: Vec<String>,
    /// How long from now.
    #[arg(long, default_value_t = 24)]
    hours: u64,
}

impl Reach {
    fn scope(&self, now: UnixSeconds) -> anyhow::Result<Scope> {
        if let Some(unknown) = self.allow.iter().find(|named| !GRANT_OPERATIONS.contains(&named.as_str())) {
            bail!("{unknown:?} is nothing that a grant allows; there is: {}", GRANT_OPERATIONS.join(", "));
        }
        let resources = match (&self.prefix, &self.object) {
            (Some(prefix), _) if !prefix.ends_with('/') => {
                bail!("a prefix ends in /; name one object by --object")
            }
            (Some(prefix), _) => format!("{}/{prefix}", self.bucket),
            (None, Some(object)) if object.ends_with('/') => bail!("an object of a grant does not end in /"),
            (None, Some(object)) => format!("{}/{object}", self.bucket),
            (None, None) => format!("{}/", self.bucket),
        };
        let expires = now.plus(self.hours.saturating_mul(HOUR_SECONDS));
        Ok(Scope { operations: self.allow.clone(), resources, expires })
    }
}

/// Does what was asked.
pub(crate) fn run(what: &What) -> anyhow::Result<()> {
    let now = runtime::unix_now();
    match what {
        What::Issue { key, reach } => {
            let key = runtime::load_key(key)?;
            let grant = grants::issue(&key, GRANT_SERVICE, &reach.scope(now)?, now)?;
            show(&Token { issuer: key.public(), grant });
        }
        What::Narrow { token, reach } => {
            let Token { issuer, grant } = Token::from_text(token)?;
            let grant = grants::attenuate(&grant, &issuer, &reach.scope(now)?)?;
            show(&Token { issuer, grant });
        }
        What::Keys { token, node } => {
            let keys = AccessKeys::derive(&Token::from_text(token)?, node)?;
            let line = json!({
                "access_key_id": keys.id,
                "secret_access_key": keys.secret,
                "session_token": keys.session_token,
            });
            println!("{line}");
        }
        What::Revoke { token, key } => {
            let key = runtime::load_key(key)?;
            let token = Token::from_text(token)?;
            if token.issuer != key.public() {
                bail!("the grant is another issuer's: {}", token.issuer);
            }
            let until = now.plus(grants::GRANT_SECONDS_MAX);
            let signed = grants::revocation(&token.grant, &token.issuer, until)?.sign(&key);
            let text = multibase::encode(multibase::Base::Base64Url, signed.encode_to_vec());
            println!("{}", json!({ "revocation": text }));
        }
        What::Hear { config, revocation } => {
            let config: Config = runtime::load(config)?;
            let (_, bytes) = multibase::decode(revocation).context("that is no revocation")?;
            let signed = SignedRevocation::decode(&*bytes).context("that is no revocation")?;
            let new = Revoked::open(&config.node.data_dir)?.add(&signed, now)?;
            println!("{}", json!({ "new": new }));
        }
    }
    Ok(())
}

fn show(token: &Token) {
    println!("{}", json!({ "token": token.to_text(), "issuer": token.issuer.to_string() }));
}

//! What a visitor's account earned here, and what it needs to claim it: for whoever asks, as it will stand on the chain.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use serde::Serialize;

use crate::{app::Edge, problem::Problem};

/// How one account stands with what its tabs earned. Amounts are base units of the token, as text: JSON's numbers end before
/// ours.
#[derive(Clone, Debug, Serialize)]
pub struct EarnerStatus {
    /// Which.
    pub account: String,
    /// Earned since ever, and paid for by publishers.
    pub earned: String,
    /// Of that, in no epoch yet.
    pub due: String,
    /// Epochs that have a share of it, in the form in which they are claimed.
    pub payouts: Vec<EarnerPayout>,
}

/// A share of an epoch, with what the contract wants to see.
#[derive(Clone, Debug, Serialize)]
pub struct EarnerPayout {
    /// The chain,
    pub chain_id: u64,
    /// `Payouts` on it,
    pub contract: String,
    /// and who opens the epoch.
    pub payer: String,
    /// Its number.
    pub epoch: u64,
    /// Until when it can be claimed, in seconds since 1970; nothing before the chain has it.
    pub expires: Option<u64>,
    /// The one share.
    pub shares: Vec<EarnerShare>,
}

/// See `Payouts.Share`.
#[derive(Clone, Debug, Serialize)]
pub struct EarnerShare {
    /// Its place.
    pub index: u64,
    /// Whose it is.
    pub account: String,
    /// How much.
    pub amount: String,
    /// In hexadecimal.
    pub proof: Vec<String>,
}

/// Why there is nothing to say of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EarnerError {
    /// The text names none.
    NoAccount(String),
    /// The disk.
    Failed(String),
}

/// Longer is no account.
const ACCOUNT_BYTES_MAX: usize = 64;

/// `GET /blackhole/v1/earners/{account}`.
pub(crate) async fn get(State(edge): State<Edge>, Path(account): Path<String>) -> Result<Response, Problem> {
    if account.len() > ACCOUNT_BYTES_MAX {
        return Err(Problem::malformed("an account is 0x and 40 hexadecimal digits"));
    }
    let node = Arc::clone(&edge.inner.node);
    let read = tokio::task::spawn_blocking(move || node.earner(&account)).await;
    match read.map_err(Problem::internal)? {
        Ok(Some(earner)) => {
            let mut answer = Json(earner).into_response();
            answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok(answer)
        }
        Ok(None) => Err(Problem::not_found("tabs are not paid here")),
        Err(EarnerError::NoAccount(why)) => Err(Problem::malformed(why)),
        Err(EarnerError::Failed(why)) => Err(Problem::internal(why)),
    }
}

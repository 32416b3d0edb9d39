//! The supernode and the chain.
//!
//! ```text
//! services ─ sell, buy, sent, verified ─► Purse ◄─ views, final state ─ Settler ─ reads, claims ─► Chain ─► RPC
//!                     vouchers ◄──────────┘ redb
//! ```
//! A [`Purse`] keeps vouchers and books, with or without a chain. A [`Settler`] looks at the chain: it claims when that is
//! worth the gas or a payer is leaving, for others too, and books what is final. [`Chain`] is one account on one chain.
//! [`Money`] is the three together, as a node runs them. [`Earnings`] are what receivers signed for, with or without a
//! chain; [`Billing`] has them paid by whoever a publisher says pays, and [`Paying`] is the side that does.
//! Only this crate talks to a chain.

mod charging;
mod client;
mod config;
mod earnings;
mod entries;
mod meters;
mod purse;
mod service;
mod settler;
mod store;

pub use charging::{
    Billed, Billing, BillingError, Charge, ChargeTabs, ChargingConfig, Delivered, EarnerStands, EpochStage,
    EpochStands, HandedIn, PaidStands, Pay, Paying, PayingError, Payment, SiteStands, TabTerms, TabsStand,
};
pub use client::{
    At, BlockRef, Chain, ChainError, ChannelState, JobState, NodeState, Others, PayoutState, Stage,
};
pub use config::Config;
pub use earnings::{
    Day, Earnings, EarningsConfig, EarningsError, News, Place, Session, Sums, Teller, Totals, evidence,
    recorder,
};
pub use meters::Meters;
pub use purse::{
    FinalState, GUARDED_MAX, JobMoves, PEERS_MAX, PayoutSeen, Purse, PurseError, Settlement, StakeState,
    Stands,
};
pub use service::{Money, MoneyStatus, reach};
pub use settler::{Looked, Settler, SettlerError, Terms};
pub use store::{BookedChannel, Direction, StoreError};

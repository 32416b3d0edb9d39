//! The network: nodes behind shaped access lines and translators, some distance apart.

mod line;
mod nat;
mod path;

pub use line::{Cargo, Downlink, FlowId, Outgoing, Parcel, Uplink};
pub use nat::{Filtering, Mapping, Nat, can_connect};
pub use path::{Region, Weather, one_way, transit};

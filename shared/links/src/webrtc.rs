//! What two of ours agree on beyond libp2p's WebRTC specifications.

/// The largest frame, its own length included, between two of ours: four groups of 16 KiB with what says which they
/// are, so a quarter of the events for the same bytes. Strangers get the specification's 16 KiB.
pub const LARGE_FRAME_BYTES: usize = 65 * 1024;

/// Begins the random part of the user name fragment by which a client of `/webrtc-direct` names its session, where
/// it takes [`LARGE_FRAME_BYTES`]: before Noise has run, that name is all a server hears of a client. A stranger
/// who begins like that by chance is one in 2^48.
pub const LARGE_FRAMES_MARK: &str = "frames65";

//! Direct connections whose descriptions others passed on, whole and signed: nothing has to go to and fro before them,
//! and no relay carries anything.
//!
//! ```text
//! who offers    offer ─► description ┄┄► … ┄┄► answer ─► accept, then dialled at `/webrtc/p2p/<peer>`
//! who answers   answer ─► description          the connection comes in once it stands
//! ```
//! Who passed them on, and that they are the remote's own words, is for the caller to see to: by the certificates in
//! them, the connection proves who the remote is.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;

use futures::channel::mpsc;
use libp2p_core::multiaddr::{Multiaddr, Protocol};
use libp2p_identity::PeerId;
use send_wrapper::SendWrapper;
use shared::peer::Description;

use super::behaviour::Notice;
use super::error::Error;
use super::page::{Candidates, Change, Page, PeerConnection};
use super::signalling::{agree_on_frames, with_frame_attribute};

/// A connection that waits for an answer; closed when dropped.
pub struct Offered(PeerConnection);

/// Makes connections for the transport that it came with. Clones are equal.
#[derive(Clone)]
pub struct Arranger {
    page: Page,
    accepted: Accepted,
    notices: mpsc::Sender<Notice>,
}

/// Connections that were answered and are dialled next.
pub(super) type Accepted = Rc<RefCell<Vec<(PeerId, PeerConnection)>>>;

impl Arranger {
    pub(super) fn new(page: Page, accepted: Accepted, notices: mpsc::Sender<Notice>) -> Self {
        Self { page, accepted, notices }
    }

    /// Begins a connection, and says how we are reached on it.
    pub async fn offer(&self) -> Result<(Offered, Description), Error> {
        let connection = self.page.offer(None, Candidates::Whole)?;
        let description = described(&connection).await?;
        Ok((Offered(connection), description))
    }

    /// The offer was answered by `peer`. Dial it at the address returned, next.
    pub fn accept(&self, Offered(connection): Offered, peer: PeerId, answer: &str) -> Multiaddr {
        agree_on_frames(&connection, answer);
        connection.accept(answer);
        self.accepted.borrow_mut().push((peer, connection));
        Protocol::WebRTC.into()
    }

    /// Begins the connection that `peer` offers, and says how we are reached on it.
    pub async fn answer(&self, peer: PeerId, offer: &str) -> Result<Description, Error> {
        let connection = self.page.answer(offer, Candidates::Whole)?;
        agree_on_frames(&connection, offer);
        let description = described(&connection).await?;
        let notice = Notice::Answered { peer, connection: SendWrapper::new(connection) };
        // The transport takes them at once; a full queue means that more come in than there may be connections.
        self.notices.clone().try_send(notice).map_err(|_| Error::TooManyConnections)?;
        Ok(description)
    }
}

/// Takes what [`Arranger::accept`] left for `peer`.
pub(super) fn take(accepted: &Accepted, peer: PeerId) -> Option<PeerConnection> {
    let mut accepted = accepted.borrow_mut();
    let place = accepted.iter().position(|(known, _)| *known == peer)?;
    Some(accepted.swap_remove(place).1)
}

/// Waits until the connection stands.
pub(super) async fn connected(connection: &PeerConnection) -> Result<(), Error> {
    while !matches!(poll_fn(|cx| connection.poll_change(cx)).await?, Change::Connected) {}
    Ok(())
}

async fn described(connection: &PeerConnection) -> Result<Description, Error> {
    let (sdp, hard) = poll_fn(|cx| connection.poll_description(cx)).await?;
    Ok(Description { sdp: with_frame_attribute(sdp), hard })
}

//! The supernode's libp2p network, with a WebRTC Direct transport on str0m.

//! The supernode's CDN executor: origin pull, manifests, blob store.

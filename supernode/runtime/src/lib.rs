//! What every supernode service stands on: executors, bounded inboxes, configuration, metrics.

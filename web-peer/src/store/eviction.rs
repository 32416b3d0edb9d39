//! What goes first when room is needed.

/// A use counts half after this long: a week-old favourite gives way to what today's visitors ask for.
const HALF_LIFE_SECONDS: u64 = 24 * 3600;
/// Fixed point, so that a single use is still worth something after ten half-lives.
const SCALE_BITS: u32 = 20;

/// How much a blob is worth keeping: its uses, decayed by the time since the last one.
pub(super) fn worth(uses: u32, used_at: u64, now: u64) -> u64 {
    let half_lives = now.saturating_sub(used_at) / HALF_LIFE_SECONDS;
    let scaled = u64::from(uses.max(1)) << SCALE_BITS;
    scaled.checked_shr(u32::try_from(half_lives).unwrap_or(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_often_and_lately_is_worth_most() {
        let now = 100 * HALF_LIFE_SECONDS;
        assert!(worth(3, now, now) > worth(2, now, now));
        assert!(worth(2, now, now) > worth(3, now - HALF_LIFE_SECONDS, now));
        assert!(worth(1, now - HALF_LIFE_SECONDS, now) > worth(1, now - 2 * HALF_LIFE_SECONDS, now));
    }

    #[test]
    fn a_clock_that_jumps_harms_nobody() {
        assert_eq!(worth(1, 10, 5), worth(1, 5, 5));
        assert_eq!(worth(u32::MAX, 0, u64::MAX), 0);
    }
}

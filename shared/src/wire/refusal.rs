//! Why a peer said no. The numbers are on the wire and never change their meaning.

/// A refusal code. What a reader does not know it treats as [`Refusal::Unspecified`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Refusal {
    /// No reason given, or one this version does not know.
    Unspecified = 0,
    /// A queue or budget is full for now; the message says when to come back.
    Busy = 1,
    /// The thing asked for is not here.
    NotFound = 2,
    /// The request makes no sense: bad range, unknown message, wrong order.
    Malformed = 3,
    /// The asker may not have this.
    Forbidden = 4,
    /// A signature, lease or statement was past its time.
    Expired = 5,
    /// A newer statement is known.
    Superseded = 6,
    /// The asker used up what it may take.
    OverBudget = 7,
    /// The user or operator withdrew consent.
    Withdrawn = 8,
    /// Neither side speaks a version the other does.
    Version = 9,
    /// Whoever has agreed to pay for this has not yet.
    Unpaid = 10,
}

impl Refusal {
    /// The number on the wire.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// Reads a number off the wire.
    pub const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Busy,
            2 => Self::NotFound,
            3 => Self::Malformed,
            4 => Self::Forbidden,
            5 => Self::Expired,
            6 => Self::Superseded,
            7 => Self::OverBudget,
            8 => Self::Withdrawn,
            9 => Self::Version,
            10 => Self::Unpaid,
            _ => Self::Unspecified,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_read_back_and_unknown_ones_are_tolerated() {
        for code in 0..11 {
            assert_eq!(Refusal::from_code(code).code(), code);
        }
        assert_eq!(Refusal::from_code(4_000_000), Refusal::Unspecified);
    }
}

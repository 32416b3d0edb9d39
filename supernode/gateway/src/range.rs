//! Single byte ranges of RFC 9110, section 14.

use core::ops::Range;

/// What a Range header asks of `size` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Everything: no header, or one that RFC 9110 lets us ignore (another unit, several ranges, nonsense).
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes that do not exist.
    Unsatisfiable,
}

/// Reads a Range header.
pub(crate) fn parse(header: Option<&str>, size: u64) -> Asked {
    let Some(spec) = header.and_then(|text| text.trim().strip_prefix("bytes=")) else { return Asked::Whole };
    let Some((first, last)) = spec.trim().split_once('-') else { return Asked::Whole };
    let (first, last) = (first.trim(), last.trim());
    match (number(first), number(last)) {
        (Some(start), None) if last.is_empty() => part(start..size, size),
        (Some(start), Some(last)) if start <= last => part(start..last.saturating_add(1).min(size), size),
        (None, Some(suffix)) if first.is_empty() => part(size.saturating_sub(suffix)..size, size),
        _ => Asked::Whole,
    }
}

fn part(range: Range<u64>, size: u64) -> Asked {
    if range.start < range.end && range.start < size { Asked::Part(range) } else { Asked::Unsatisfiable }
}

/// Digits alone; more of them than fit stand for the largest number.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let check = |header: &str, expect: Asked| assert_eq!(parse(Some(header), 1000), expect, "{header}");
        check("bytes=0-0", Asked::Part(0..1));
        check("bytes=10-19", Asked::Part(10..20));
        check("bytes=990-", Asked::Part(990..1000));
        check("bytes=990-5000", Asked::Part(990..1000));
        check("bytes=-10", Asked::Part(990..1000));
        check("bytes=-5000", Asked::Part(0..1000));
        check("bytes=5-99999999999999999999999999", Asked::Part(5..1000));
        check("bytes=1000-", Asked::Unsatisfiable);
        check("bytes=99999999999999999999999-", Asked::Unsatisfiable);
        check("bytes=-0", Asked::Unsatisfiable);
        for ignored in
            ["", "bytes=", "bytes=-", "bytes=a-b", "bytes=20-10", "bytes=0-1,5-6", "lines=0-1", "bytes=+1-2"]
        {
            check(ignored, Asked::Whole);
        }
        assert_eq!(parse(None, 1000), Asked::Whole);
        assert_eq!(parse(Some("bytes=0-"), 0), Asked::Unsatisfiable);
    }
}

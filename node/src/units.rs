//! Durations, sizes and instants as people write them.

use std::time::Duration;

use peerless_core::Quorum;

/// `10s`, `250ms`, `1m30s`: what Go and OpenFaaS write, too.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 10s, 250ms or 1m30s");
    let mut rest = text.trim();
    let mut nanos = 0_u128;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let unit_len = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let unit: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "d" => 86_400_000_000_000,
            _ => return Err(wrong()),
        };
        nanos = nanos.saturating_add(scaled(number, unit).ok_or_else(wrong)?);
        rest = tail;
    }
    Ok(Duration::from_nanos(u64::try_from(nanos).map_err(|_| wrong())?))
}

/// `64MiB`, `1GB`, `512`, and Kubernetes' `128Mi`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a size such as 64MiB, 1GB or 512");
    let text_trimmed = text.trim();
    let digits = text_trimmed.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text_trimmed.split_at(digits.unwrap_or(text_trimmed.len()));
    let unit: u128 = match unit {
        "" | "B" => 1,
        "k" | "K" | "kB" | "KB" => 1_000,
        "M" | "MB" => 1_000_000,
        "G" | "GB" => 1_000_000_000,
        "Ki" | "KiB" => 1 << 10,
        "Mi" | "MiB" => 1 << 20,
        "Gi" | "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let bytes = scaled(number, unit).ok_or_else(wrong)?;
    u64::try_from(bytes).map_err(|_| wrong())
}

/// `2/3`: K equal answers of at most N hosts.
pub(crate) fn parse_quorum(text: &str) -> Result<Quorum, String> {
    let numbers = text.split_once('/');
    let both = numbers.and_then(|(agree, of)| Some((agree.parse().ok()?, of.parse().ok()?)));
    both.and_then(|(agree, of)| Quorum::new(agree, of)).ok_or_else(|| {
        let most = Quorum::OF_MAX;
        format!("{text:?} is not K/N such as 2/3, with 1 ≤ K ≤ N ≤ {most}")
    })
}

/// A decimal number times a unit, without floating point.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.len() > 9 {
        return None;
    }
    let mut value = whole.parse::<u64>().ok().map(u128::from)?.checked_mul(unit)?;
    if !part.is_empty() {
        let numerator = part.parse::<u64>().ok().map(u128::from)?;
        value += numerator * unit / 10_u128.pow(part.len() as u32);
    }
    Some(value)
}

/// A size for a person.
pub(crate) fn show_size(bytes: u64) -> String {
    for (unit, name) in [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= unit {
            return format!("{:.1} {name}", bytes as f64 / unit as f64);
        }
    }
    format!("{bytes} B")
}

/// A duration as it is written in a flag.
pub(crate) fn show_duration(duration: Duration) -> String {
    if duration.subsec_nanos() == 0 {
        format!("{}s", duration.as_secs())
    } else {
        format!("{}ms", duration.as_millis())
    }
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC; days to dates as Howard Hinnant does it.
pub(crate) fn rfc3339(ms: u64) -> String {
    let (days, second) = (ms / 86_400_000, ms / 1000 % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, ms) in
            [("10s", 10_000), ("250ms", 250), ("1m30s", 90_000), ("1.5h", 5_400_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "s", "10x", "-1s", "1..2s", "99999999999999999999s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("64MiB", 64 << 20), ("128Mi", 128 << 20), ("1.5GB", 1_500_000_000)] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "1Q", "1e9"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_827_696_000, "2000-02-29T12:34:56Z"),
            (1_795_392_000_000, "2026-11-23T00:00:00Z"),
            (4_102_444_799_000, "2099-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(ms), text);
        }
    }

    #[test]
    fn quorums() {
        let read = |text| parse_quorum(text).map(|quorum| (quorum.agree(), quorum.of()));
        assert_eq!(read("2/3"), Ok((2, 3)));
        assert_eq!(read("31/31"), Ok((31, 31)));
        for text in ["", "2", "0/3", "4/3", "2/32", "2/3/4", "-1/3", "2/300", "a/b"] {
            let why = parse_quorum(text).unwrap_err();
            assert_eq!(why, format!("{text:?} is not K/N such as 2/3, with 1 ≤ K ≤ N ≤ 31"));
        }
    }
}

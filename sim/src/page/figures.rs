//! Numbers as people read them, and text that a page takes for nothing but text.

use std::fmt::Write as _;

/// Text in a page, in an attribute too.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Neither control characters nor those that turn the reading direction are for a page.
            c if c.is_control() || is_direction(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A whole number with commas.
pub(super) fn count(n: u64) -> String {
    grouped(&n.to_string())
}

fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number with this many digits behind the point.
pub(super) fn fixed(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let text = format!("{:.decimals$}", value.abs());
    let (whole, rest) = text.split_once('.').unwrap_or((&text, ""));
    let is_zero = text.chars().all(|c| c == '0' || c == '.');
    let sign = if value < 0.0 && !is_zero { "−" } else { "" };
    // Nobody reads the digits of what is as large as that.
    if whole.len() > 15 {
        return format!("{value:.2e}");
    }
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{rest}", grouped(whole))
}

/// A number with about three digits that tell something.
pub(super) fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 || size == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    fixed(value, decimals)
}

/// A share in percent, cut off so that only all is 100 %.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    if part >= whole {
        return "100 %".to_owned();
    }
    fixed((part as f64 / whole as f64 * 1e4).floor() / 100.0, 2) + " %"
}

/// So many bytes.
pub(super) fn bytes(n: f64) -> String {
    let (size, unit) = bytes_unit(n);
    format!("{} {unit}", figure(n / size))
}

/// The unit in which so many bytes are best told, and its size.
pub(super) fn bytes_unit(n: f64) -> (f64, &'static str) {
    match n {
        n if n >= 1024.0 * 1024.0 * 1024.0 => (1024.0 * 1024.0 * 1024.0, "GiB"),
        n if n >= 1024.0 * 1024.0 => (1024.0 * 1024.0, "MiB"),
        n if n >= 1024.0 => (1024.0, "KiB"),
        _ => (1.0, "B"),
    }
}

/// So many seconds.
pub(super) fn seconds(n: f64) -> String {
    if n > 0.0 && n < 1.0 {
        return format!("{} ms", figure(n * 1e3));
    }
    let (size, unit) = seconds_unit(n);
    format!("{} {unit}", figure(n / size))
}

/// The unit in which so many seconds are best told, and its size.
pub(super) fn seconds_unit(n: f64) -> (f64, &'static str) {
    match n {
        n if n >= 2.0 * 3600.0 => (3600.0, "h"),
        n if n >= 300.0 => (60.0, "min"),
        _ => (1.0, "s"),
    }
}

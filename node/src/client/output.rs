//! What a command prints: JSON, or text for a person.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use serde_json::Value;

use super::failure::Failure;

/// Which of the two.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Prints a value; `text` makes what a person reads.
    pub(crate) fn print(self, value: &Value, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json { line(&value.to_string()) } else { line(text().trim_end_matches('\n')) }
    }
}

/// Writes a line to standard output.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = writeln!(out, "{text}").and_then(|()| out.flush());
    written.map_err(|error| Failure::unwritable("standard output", &error))
}

/// Rows under their heads, each column as wide as its widest cell.
pub(crate) fn table<const N: usize>(heads: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = heads.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in std::iter::once(&heads.map(str::to_owned)).chain(rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `key  value` lines, the values aligned.
pub(crate) fn pairs(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(key, _)| key.len()).max().unwrap_or(0);
    let line =
        |(key, value): &(&str, String)| format!("{key:<width$}  {value}").trim_end().to_owned();
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A cell of a table: a value as a person reads it, `-` where there is none.
pub(crate) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(yes)) => if *yes { "yes" } else { "no" }.into(),
        Some(Value::Number(number)) => match number.as_f64() {
            Some(value) if number.is_f64() => format!("{value:.1}"),
            _ => number.to_string(),
        },
        Some(Value::Array(values)) => {
            values.iter().map(|value| cell(Some(value))).collect::<Vec<_>>().join(" ")
        }
        Some(Value::Object(map)) => {
            let entry = |(key, value): (&String, &Value)| format!("{key}={}", cell(Some(value)));
            map.iter().map(entry).collect::<Vec<_>>().join(" ")
        }
    }
}

/// `1 host`, `2 hosts`.
pub(crate) fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_stand_under_their_heads() {
        let rows = [["echo".into(), "1".into()], ["a-long-name".into(), "-".into()]];
        let text = table(["NAME", "N"], &rows);
        assert_eq!(text, "NAME         N\necho         1\na-long-name  -\n");
        assert_eq!(pairs(&[("a", "1".into()), ("long", String::new())]), "a     1\nlong");
    }

    #[test]
    fn values_are_cells() {
        let cells = [json!(null), json!("x"), json!(3), json!(0.25), json!(true), json!(["a", 1])];
        let cells: Vec<_> = cells.iter().map(|value| cell(Some(value))).collect();
        assert_eq!(cells, ["-", "x", "3", "0.2", "yes", "a 1"]);
        assert_eq!(cell(Some(&json!({"used": 1, "of": 4}))), "of=4 used=1");
    }
}

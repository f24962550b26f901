//! How a string is spelled as a YAML scalar.
//!
//! Knows the quoting rules, and the words that a YAML 1.1 or a YAML 1.2 reader would not take for a
//! string; Kubernetes reads 1.1, most tools 1.2, and what is written here must be the same string
//! to both. Knows nothing of documents or places.

use std::fmt::Write as _;

/// The notation of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Without quotes.
    Plain,
    /// `'single'`.
    Single,
    /// `"double"`.
    Double,
    /// `|` block.
    Literal,
    /// `>` block.
    Folded,
}

impl Style {
    /// Whether it is a block scalar (`|` or `>`).
    #[must_use]
    pub fn is_block(self) -> bool {
        matches!(self, Style::Literal | Style::Folded)
    }
}

/// `value` as a scalar in the style of the one that it replaces. Plain stays plain where that is
/// safe and becomes double-quoted otherwise; a block scalar becomes one line.
#[must_use]
pub fn encode_like(style: Style, in_flow: bool, value: &str) -> String {
    match style {
        Style::Single if !value.chars().any(needs_escape) => single(value),
        Style::Single | Style::Double => double(value),
        Style::Plain | Style::Literal | Style::Folded => encode(in_flow, value),
    }
}

/// `value` as a new scalar: plain where that is safe, otherwise double-quoted.
#[must_use]
pub fn encode(in_flow: bool, value: &str) -> String {
    if is_plain_safe(value, in_flow) {
        value.to_owned()
    } else {
        double(value)
    }
}

/// `value` in double quotes, with escapes that JSON has too.
#[must_use]
pub fn double(value: &str) -> String {
    format!("\"{}\"", double_inner(value))
}

/// What stands between the double quotes.
#[must_use]
pub fn double_inner(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if needs_escape(c) => {
                // Only characters of the basic plane need an escape; writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// `value` in single quotes; the caller has seen that nothing in it needs an escape.
fn single(value: &str) -> String {
    format!("'{}'", single_inner(value))
}

/// What stands between the single quotes.
#[must_use]
pub fn single_inner(value: &str) -> String {
    value.replace('\'', "''")
}

/// Characters that only an escape carries through every reader unchanged.
#[must_use]
pub fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// Whether `value` without quotes is read back as the same string, by YAML 1.1 and by YAML 1.2.
#[must_use]
pub fn is_plain_safe(value: &str, in_flow: bool) -> bool {
    let mut chars = value.chars();
    let Some(first) = chars.next() else {
        return false;
    };
    let second = chars.next();
    let starts_well = match first {
        '-' => second.is_some_and(|c| c != ' '),
        c => !"?:,[]{}#&*!|>'\"%@`=".contains(c),
    };
    starts_well
        && !value.starts_with("---")
        && !value.starts_with("...")
        && value == value.trim()
        && !value.chars().any(needs_escape)
        && !value.contains(": ")
        && !value.contains(" #")
        && !value.ends_with(':')
        && !(in_flow && value.contains([',', '[', ']', '{', '}', '?', '"', '\'']))
        && !is_other_type(value)
}

/// Whether an unquoted `value` would be, or might to some reader be, a null, a boolean, a number or
/// a date.
fn is_other_type(value: &str) -> bool {
    const WORDS: [&str; 16] = [
        "null", "~", "true", "false", "yes", "no", "on", "off", "y", "n", "<<", ".inf", "+.inf",
        "-.inf", ".nan", "=",
    ];
    let lower = value.to_ascii_lowercase();
    WORDS.contains(&lower.as_str())
        || (value.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
            && value.contains(|c: char| c.is_ascii_digit())
            && lower
                .chars()
                .all(|c| c.is_ascii_hexdigit() || "xotz_.:+- ".contains(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_stays_plain_only_where_every_reader_agrees() {
        for safe in [
            "--client-ca-file=/etc/kubernetes/pki/ca bundle.crt",
            "sha256:0f3a",
            "carota-kept:sha256:00",
            "/a#b",
            "it's",
            "LS0t==",
            "é",
        ] {
            assert_eq!(encode(false, safe), safe);
        }
        for (value, written) in [
            ("", "\"\""),
            ("yes", "\"yes\""),
            ("12:30", "\"12:30\""),
            ("1e3", "\"1e3\""),
            ("2026-01-01", "\"2026-01-01\""),
            ("a: b", "\"a: b\""),
            ("a #b", "\"a #b\""),
            ("a:", "\"a:\""),
            (" a", "\" a\""),
            ("- a", "\"- a\""),
            ("\"", "\"\\\"\""),
            ("a\u{85}\n", "\"a\\u0085\\n\""),
            ("~", "\"~\""),
        ] {
            assert_eq!(encode(false, value), written);
        }
        assert_eq!(encode(true, "a,b"), "\"a,b\"");
        assert_eq!(encode(false, "a,b"), "a,b");
    }

    #[test]
    fn quotes_stay_what_they_are() {
        assert_eq!(encode_like(Style::Single, false, "it's"), "'it''s'");
        assert_eq!(encode_like(Style::Double, false, "a\\b"), "\"a\\\\b\"");
        assert_eq!(encode_like(Style::Literal, false, "a"), "a");
    }
}

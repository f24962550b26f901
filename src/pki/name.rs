//! Distinguished names: for people, and from the text in cluster.toml.
//!
//! Knows attributes and their spellings. It must not know certificates. Names are compared as DER
//! elsewhere, never as text.

use der::asn1::{BmpString, ObjectIdentifier};
use der::{Decode, Encode, Tag};
use std::fmt::Write;
use std::str::FromStr;

use super::asn1::{Element, document, hex};
use crate::diagnostic::{Code, Diagnostic, Result};

pub(super) const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
pub(super) const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");

/// The attribute types that people know, as Go and OpenSSL abbreviate them.
const SHORT_NAMES: [(&str, &str); 10] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// A name as read: its attributes in encoding order.
pub(super) struct Attributes(Vec<Attribute>);

struct Attribute {
    kind: ObjectIdentifier,
    value: String,
    /// It stands in the same set as the attribute before it.
    joined: bool,
}

impl Attributes {
    /// Reads a DER name.
    pub fn read(der: &[u8]) -> der::Result<Attributes> {
        let mut found = Vec::new();
        for set in document(der)?.children(Tag::Sequence)? {
            for (index, pair) in set.children(Tag::Set)?.iter().enumerate() {
                let [kind, value] = pair.children(Tag::Sequence)?[..] else {
                    return Err(Tag::Sequence.value_error().into());
                };
                found.push(Attribute {
                    kind: kind.object_identifier()?,
                    value: text(value)?,
                    joined: index > 0,
                });
            }
        }
        Ok(Attributes(found))
    }

    /// Every value of one attribute type, in order.
    pub fn values(&self, kind: ObjectIdentifier) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |a| a.kind == kind)
            .map(|a| a.value.as_str())
    }

    /// For people: `O=a, O=b, CN=x` in encoding order; one line, and nothing in it can drive a
    /// terminal or be taken for another attribute.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        for attribute in &self.0 {
            if !out.is_empty() {
                out.push_str(if attribute.joined { " + " } else { ", " });
            }
            let kind = attribute.kind.to_string();
            let short = SHORT_NAMES.iter().find(|(id, _)| *id == kind);
            let _ = write!(out, "{}=", short.map_or(kind.as_str(), |(_, s)| *s));
            escape(&attribute.value, &mut out);
        }
        out
    }
}

/// A value as text. Kinds of strings that nobody uses are shown in hexadecimal.
fn text(value: Element<'_>) -> der::Result<String> {
    let malformed = || der::Error::from(value.tag.value_error());
    match value.tag {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String => {
            String::from_utf8(value.value.to_vec()).map_err(|_| malformed())
        }
        // T.61 in theory; in practice, and in Go, it is Latin-1.
        Tag::TeletexString => Ok(value.value.iter().copied().map(char::from).collect()),
        Tag::BmpString => Ok(BmpString::from_der(value.whole)?.to_string()),
        _ => Ok(format!("#{}", hex(value.whole))),
    }
}

/// Appends a value, with what could mislead escaped: separators, control characters, and characters
/// that are invisible or turn the direction of writing.
pub(super) fn escape(value: &str, out: &mut String) {
    for c in value.chars() {
        let misleading = matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
        match c {
            ',' | '+' | '\\' => out.extend(['\\', c]),
            c if c.is_control() || misleading => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
}

/// The DER of a name in RFC 4514 text, such as `CN=kubernetes,O=example`. As in RFC 4514 the last
/// attribute comes first in the encoding. Blanks after a comma are allowed.
pub fn subject_from_text(text: &str) -> Result<Vec<u8>> {
    let invalid = |reason: String| {
        Diagnostic::new(
            Code::TomlValue,
            reason,
            "write it as in RFC 4514, for example `CN=kubernetes,O=example`",
        )
    };
    if text.chars().any(char::is_control) {
        return Err(invalid("the subject holds a control character".to_owned()));
    }
    let compact: Vec<&str> = split(text).into_iter().map(str::trim_start).collect();
    let name = x509_cert::name::Name::from_str(&compact.join(","))
        .ok()
        .filter(|name| !name.is_empty() && name.iter().all(|a| !a.value.value().is_empty()));
    name.and_then(|name| name.to_der().ok())
        .ok_or_else(|| invalid(format!("`{text}` is not a distinguished name")))
}

/// The pieces between commas that no backslash escapes.
fn split(text: &str) -> Vec<&str> {
    let (mut pieces, mut start, mut escaped) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        if c == ',' && !escaped {
            pieces.push(&text[start..at]);
            start = at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    pieces.push(&text[start..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(text: &str) -> String {
        Attributes::read(&subject_from_text(text).unwrap())
            .unwrap()
            .to_text()
    }

    #[test]
    fn a_subject_reads_in_encoding_order() {
        assert_eq!(round("CN=kubernetes"), "CN=kubernetes");
        assert_eq!(round("CN=x, O=b,O=a"), "O=a, O=b, CN=x");
        assert_eq!(round("CN=x+OU=y,O=z").matches(" + ").count(), 1);
    }

    #[test]
    fn a_hostile_value_cannot_pose_as_another_attribute() {
        assert_eq!(
            round(r"CN=a\, O=system:masters"),
            r"CN=a\, O=system:masters"
        );
        let mut out = String::new();
        escape("a\u{1b}[2J\u{202e}b", &mut out);
        assert_eq!(out, r"a\u{1b}[2J\u{202e}b");
    }

    #[test]
    fn what_is_not_a_name_is_refused() {
        for text in [
            "",
            "kubernetes",
            "CN=",
            "=x",
            "CN=a\nO=b",
            "CN=a,,O=b",
            "QQ=x",
        ] {
            assert_eq!(
                subject_from_text(text).unwrap_err().code,
                Code::TomlValue,
                "{text}"
            );
        }
    }
}

//! PEM text.
//!
//! Knows RFC 7468, and what Go's `pem.Decode` tolerates: text around blocks, CRLF, headers. Does not
//! know what a block holds. A block that begins and cannot be decoded is an error, where Go would
//! skip it: a trust bundle that silently loses a CA is the worst of all outcomes.

use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::diagnostic::{Code, Diagnostic, Place, Result};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// A block of a PEM text.
#[derive(Clone, PartialEq, Eq)]
pub struct Block {
    /// What stands after BEGIN.
    pub label: String,
    /// The decoded body.
    pub der: Vec<u8>,
    /// Its bytes in the text, from BEGIN to the end of the END line without the line break.
    pub range: Range<usize>,
}

impl std::fmt::Debug for Block {
    /// A block may hold a private key, so its body is never printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Block({:?}, {} bytes, {:?})",
            self.label,
            self.der.len(),
            self.range
        )
    }
}

/// The blocks of `text`, in order.
pub fn blocks(text: &str, file: &str) -> Result<Vec<Block>> {
    let mut out = Vec::new();
    let mut open: Option<(usize, &str, String)> = None;
    let mut offset = 0;
    let bad = |offset: usize, reason: &str| {
        Diagnostic::new(
            Code::PemMalformed,
            reason,
            "restore the whole file on the node, then take the snapshot again",
        )
        .at(Place::at(file, text, offset))
    };
    for line in text.split_inclusive('\n') {
        let content = line.trim_end();
        if let Some(label) = marker(content, BEGIN) {
            if let Some((start, ..)) = open {
                return Err(bad(start, "a PEM block has no END line"));
            }
            open = Some((offset, label, String::new()));
        } else if let Some(label) = marker(content, END) {
            let Some((start, begun, body)) = open.take() else {
                return Err(bad(offset, "a PEM END line without its BEGIN line"));
            };
            if begun != label {
                return Err(bad(
                    offset,
                    "the END line of a PEM block names something else than its BEGIN line",
                ));
            }
            let der =
                decode(&body).ok_or_else(|| bad(start, "the body of a PEM block is not base64"))?;
            out.push(Block {
                label: label.to_owned(),
                der,
                range: start..offset + content.len(),
            });
        } else if content.starts_with(BEGIN) {
            return Err(bad(offset, "a PEM BEGIN line is damaged"));
        } else if let Some((.., body)) = &mut open {
            body.push_str(content);
            body.push('\n');
        }
        offset += line.len();
    }
    match open {
        Some((start, ..)) => Err(bad(start, "a PEM block has no END line")),
        None => Ok(out),
    }
}

fn marker<'a>(line: &'a str, kind: &str) -> Option<&'a str> {
    line.strip_prefix(kind)?.strip_suffix(DASHES)
}

/// Decodes the lines of a body, after its headers if it has any.
fn decode(body: &str) -> Option<Vec<u8>> {
    let mut lines = body.lines().peekable();
    while lines
        .next_if(|l| l.contains(": ") || l.ends_with(':'))
        .is_some()
    {}
    let mut packed = Vec::with_capacity(body.len());
    for line in lines {
        let bytes = line.bytes();
        packed.extend(bytes.filter(|b| !matches!(b, b' ' | b'\t' | b'\r')));
    }
    STANDARD.decode(packed).ok()
}

/// A block as OpenSSL and Go write it: 64 characters a line, each with a line break.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let mut out = format!("{BEGIN}{label}{DASHES}\n");
    let body = STANDARD.encode(der);
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str(END);
    out.push_str(label);
    out.push_str(DASHES);
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_between_other_text_and_with_any_line_end() {
        let text = "subject=x\r\n-----BEGIN A B-----\r\nAQID\r\n-----END A B-----\r\n# t\n-----BEGIN C-----\nProc-Type: 4,X\n\nBA==\n-----END C-----";
        let found = blocks(text, "f").unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].label.as_str(), found[0].der.as_slice()),
            ("A B", &[1, 2, 3][..])
        );
        assert_eq!(
            &text[found[0].range.clone()],
            "-----BEGIN A B-----\r\nAQID\r\n-----END A B-----"
        );
        assert_eq!(
            (found[1].label.as_str(), found[1].der.as_slice()),
            ("C", &[4][..])
        );
        assert_eq!(found[1].range.end, text.len());
    }

    #[test]
    fn a_damaged_block_is_an_error_at_its_place() {
        let place = |text: &str| {
            let e = blocks(text, "f").unwrap_err();
            assert_eq!(e.code, Code::PemMalformed);
            e.place.unwrap().to_string()
        };
        assert_eq!(place("x\n-----BEGIN A-----\nAQID\n"), "f:2:1");
        assert_eq!(place("-----BEGIN A-----\nAQI\n-----END A-----\n"), "f:1:1");
        assert_eq!(place("-----BEGIN A-----\nAQID\n-----END B-----\n"), "f:3:1");
        assert_eq!(
            place("-----BEGIN A-----\n-----BEGIN A-----\nAQID\n-----END A-----\n"),
            "f:1:1"
        );
        assert_eq!(place("AQID\n-----END A-----\n"), "f:2:1");
        assert_eq!(place("-----BEGIN A----\nAQID\n-----END A-----\n"), "f:1:1");
    }

    #[test]
    fn an_encoded_block_is_folded_at_64_characters() {
        assert_eq!(
            encode("X", &[0; 49]),
            format!(
                "-----BEGIN X-----\n{}\nAA==\n-----END X-----\n",
                "A".repeat(64)
            )
        );
        let der: Vec<u8> = (0..=255).collect();
        assert_eq!(blocks(&encode("X", &der), "f").unwrap()[0].der, der);
    }
}

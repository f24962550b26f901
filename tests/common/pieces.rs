//! Certificates in a text, in whatever form they stand there: as PEM, indented or with escaped line
//! feeds, and in base64. Knows text; nothing of what the certificates are for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use carota::pki::{Certificate, certificates_in_pem};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// How every PEM begins, in base64.
const ENCODED: &str = "LS0tLS1CRUdJTi";

/// The text with every certificate replaced by what `instead` gives for it, as PEM.
pub fn with_certificates(text: &str, instead: &dyn Fn(&Certificate) -> String) -> String {
    pieces(text)
        .into_iter()
        .map(|piece| match piece {
            Piece::Text(text) => text.to_owned(),
            // What separates a block's lines (an indent, an escaped line feed) stays.
            Piece::Certificate(block) => instead(&certificate(block))
                .trim_end()
                .replace('\n', separator(block)),
            Piece::Encoded(inner) => BASE64.encode(with_certificates(&inner, instead)),
        })
        .collect()
}

/// A part of a text.
enum Piece<'a> {
    Text(&'a str),
    /// A PEM block, its lines separated by whatever.
    Certificate(&'a str),
    /// PEM in base64, decoded.
    Encoded(String),
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let (mut out, mut rest) = (Vec::new(), text);
    while let Some(at) = [BEGIN, ENCODED]
        .iter()
        .filter_map(|mark| rest.find(mark))
        .min()
    {
        out.push(Piece::Text(&rest[..at]));
        let found = &rest[at..];
        let length = if found.starts_with(BEGIN) {
            let length = found.find(END).expect("a whole certificate") + END.len();
            out.push(Piece::Certificate(&found[..length]));
            length
        } else {
            let length = found
                .find(|c: char| !(c.is_ascii_alphanumeric() || "+/=".contains(c)))
                .unwrap_or(found.len());
            let inner = BASE64.decode(&found[..length]).unwrap();
            out.push(Piece::Encoded(String::from_utf8(inner).unwrap()));
            length
        };
        rest = &found[length..];
    }
    out.push(Piece::Text(rest));
    out
}

/// What stands between a block's lines: a line feed and an indent, or an escaped line feed.
fn separator(block: &str) -> &str {
    let body = &block[BEGIN.len()..];
    &body[..body.find(|c: char| c.is_ascii_uppercase()).expect("base64")]
}

fn certificate(block: &str) -> Certificate {
    certificates_in_pem(&block.replace(separator(block), "\n"), "")
        .unwrap()
        .remove(0)
}

/// Certificates of a text in any form, in order.
pub fn certificates_of(text: &str) -> Vec<Certificate> {
    pieces(text)
        .into_iter()
        .flat_map(|piece| match piece {
            Piece::Text(_) => Vec::new(),
            Piece::Certificate(block) => vec![certificate(block)],
            Piece::Encoded(inner) => certificates_of(&inner),
        })
        .collect()
}

//! Certificates wherever they hide in a text.
//!
//! Knows the disguises: PEM with any indentation, in comments, with escaped line breaks; base64 of
//! PEM, of DER, of other base64, folded over lines. Does not decide what a certificate is for. Rule:
//! better to report a certificate that nobody uses than to miss a CA that somebody trusts.

use std::convert::Infallible;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::diagnostic::Place;
use crate::memo::Memo;

/// A certificate that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where its text begins; for nested encodings, in the outermost text.
    pub place: Place,
    /// The certificate.
    pub der: Vec<u8>,
}

/// How many encodings may lie around each other.
const DEPTH: usize = 4;
/// Shorter runs of base64 hold no certificate: the smallest has some 250 bytes, as base64 334.
const SHORTEST: usize = 128;

/// Tolerates what decoders in use tolerate.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// The certificates in `text`, in the order of their places.
#[must_use]
pub fn find_embedded_certificates(text: &str, file: &str) -> Vec<Found> {
    let mut found = search(text, DEPTH);
    found.sort();
    found.dedup();
    found
        .into_iter()
        .map(|(offset, der)| Found {
            place: Place::at(file, text, offset),
            der,
        })
        .collect()
}

/// Whether there is any certificate in `text`.
#[must_use]
pub fn holds_certificate(text: &str) -> bool {
    text.len() >= SHORTEST && !search(text, DEPTH).is_empty()
}

/// Whether `bytes` are certificates and nothing else: PEM or DER, as they are or in base64.
#[must_use]
pub fn are_only_certificates(bytes: &[u8]) -> bool {
    let mut bytes = bytes.to_vec();
    for _ in 0..=DEPTH {
        if is_der_only(&bytes) || is_pem_only(&bytes) {
            return true;
        }
        bytes.retain(|b| !b.is_ascii_whitespace());
        match LENIENT.decode(&bytes) {
            Ok(decoded) => bytes = decoded,
            Err(_) => return false,
        }
    }
    false
}

fn is_der_only(mut bytes: &[u8]) -> bool {
    let whole = bytes.len();
    while let Some(certificate) = certificate_at(bytes) {
        bytes = &bytes[certificate.len()..];
    }
    bytes.is_empty() && whole > 0
}

/// As the collector sees it (`certificates` in templates/public-form.sh), which knows no more of a certificate than its
/// label, and lets blocks follow each other on one line.
fn is_pem_only(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let mut rest = text.trim_start();
    while let Some(body) = rest.strip_prefix("-----BEGIN CERTIFICATE-----") {
        let Some((body, after)) = body.split_once("-----END CERTIFICATE-----") else {
            return false;
        };
        let is_body = |b: u8| b.is_ascii_alphanumeric() || b"+/=\r\n".contains(&b);
        if !body.bytes().all(is_body) {
            return false;
        }
        rest = after.trim_start();
    }
    rest.is_empty() && !text.trim().is_empty()
}

/// Certificates with the offsets of their text.
fn search(text: &str, depth: usize) -> Vec<(usize, Vec<u8>)> {
    let mut found = Vec::new();
    let mut covered = Vec::new();
    for (range, der) in pem_blocks(text) {
        found.push((range.start, der));
        covered.push(range);
    }
    // What is covered ends a run, and is not looked at twice: a file of certificates is covered nearly whole.
    let mut from = 0;
    covered.push(text.len()..text.len());
    for Range { start, end } in covered {
        for run in runs(&text[from..start]) {
            let packed: Vec<u8> = run.iter().map(|(_, b)| *b).collect();
            let of_run = in_run(&packed, depth);
            let place = |index: usize| run.get(index).map_or(0, |(at, _)| from + *at);
            found.extend(
                of_run
                    .iter()
                    .map(|(index, der)| (place(*index), der.clone())),
            );
        }
        from = end;
    }
    found
}

/// Certificates, each with the number of the character at which it begins.
type InRun = Arc<Vec<(usize, Vec<u8>)>>;

static SEARCHED: Memo<InRun> = Memo::new();

/// Certificates in a run of base64 characters. The same CA stands in files of all nodes.
fn in_run(run: &[u8], depth: usize) -> InRun {
    let search = || {
        let found = (0..4).flat_map(|shift| search_run(run, shift, depth));
        Ok::<_, Infallible>(Arc::new(found.collect()))
    };
    let Ok(found) = SEARCHED.recall(&[run, &depth.to_le_bytes()], search);
    found
}

/// Certificates in a run of base64 characters, read from `shift`: what is glued in front of the
/// base64 proper may have any length.
fn search_run(run: &[u8], shift: usize, depth: usize) -> Vec<(usize, Vec<u8>)> {
    let Some(run) = run.get(shift..).filter(|r| r.len() >= SHORTEST) else {
        return Vec::new();
    };
    // Four characters are three bytes; one that is left over carries nothing.
    let usable = if run.len() % 4 == 1 {
        run.len() - 1
    } else {
        run.len()
    };
    let Ok(bytes) = LENIENT.decode(&run[..usable]) else {
        return Vec::new();
    };
    let place = |decoded: usize| shift + decoded / 3 * 4;
    let mut found: Vec<_> = certificates_in(&bytes)
        .into_iter()
        .map(|(at, der)| (place(at), der))
        .collect();
    if depth > 0 && is_texty(&bytes) {
        // Each byte stays one character, so that offsets stay what they are.
        let inner: String = bytes
            .iter()
            .map(|b| {
                if b.is_ascii() {
                    char::from(*b)
                } else {
                    '\u{1}'
                }
            })
            .collect();
        found.extend(
            search(&inner, depth - 1)
                .into_iter()
                .map(|(at, der)| (place(at), der)),
        );
    }
    found
}

/// Whether decoded bytes are mostly text; the wrong alignment gives noise.
fn is_texty(bytes: &[u8]) -> bool {
    let printable = bytes
        .iter()
        .filter(|b| b.is_ascii_graphic() || b.is_ascii_whitespace())
        .count();
    printable * 10 >= bytes.len() * 7
}

/// Length and contents of the DER element of any tag at the start of `bytes`.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |n, d| n << 8 | usize::from(*d)), rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// The certificate at the start of `bytes`, by its outline: a signed sequence with serial,
/// algorithm, issuer and a validity of two times.
fn certificate_at(bytes: &[u8]) -> Option<&[u8]> {
    const SEQUENCE: u8 = 0x30;
    let (tag, outer, after) = element(bytes)?;
    let (tbs_tag, tbs, rest) = element(outer)?;
    let (algorithm, ..) = element(rest)?;
    let mut fields = tbs;
    let (mut field, mut contents, mut next) = element(fields)?;
    if field == 0xa0 {
        fields = next;
        (field, contents, next) = element(fields)?;
    }
    let serial = field == 0x02 && !contents.is_empty();
    let (signature, _, next) = element(next)?;
    let (issuer, _, next) = element(next)?;
    let (validity, times, _) = element(next)?;
    let (time, ..) = element(times)?;
    let outline = [tag, tbs_tag, algorithm, signature, issuer, validity]
        .iter()
        .all(|t| *t == SEQUENCE);
    (outline && serial && matches!(time, 0x17 | 0x18)).then(|| &bytes[..bytes.len() - after.len()])
}

/// The certificates anywhere in `bytes`, with their offsets.
fn certificates_in(bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at] == 0x30)
            .then(|| certificate_at(&bytes[at..]))
            .flatten()
        {
            Some(der) => {
                found.push((at, der.to_vec()));
                at += der.len();
            }
            None => at += 1,
        }
    }
    found
}

/// PEM certificates, with line breaks of any kind: real ones, escaped ones, blanks.
fn pem_blocks(text: &str) -> Vec<(Range<usize>, Vec<u8>)> {
    const LABELS: [&str; 3] = [
        "CERTIFICATE-----",
        "TRUSTED CERTIFICATE-----",
        "X509 CERTIFICATE-----",
    ];
    let mut out = Vec::new();
    for (start, begin) in text.match_indices("-----BEGIN ") {
        let label = &text[start + begin.len()..];
        let Some(body) = LABELS.iter().find_map(|l| label.strip_prefix(l)) else {
            continue;
        };
        let Some(length) = body.find("-----") else {
            continue;
        };
        let body_start = text.len() - body.len();
        let packed: Vec<u8> = characters(&text[body_start..body_start + length])
            .map(|(_, b)| b)
            .filter(|b| *b != b'=')
            .collect();
        let Ok(bytes) = LENIENT.decode(packed) else {
            continue;
        };
        if bytes.first() != Some(&0x30) {
            continue;
        }
        // What is labelled a certificate is reported even when its outline is odd: somebody reads it.
        let der = certificate_at(&bytes).map_or_else(|| bytes.clone(), <[u8]>::to_vec);
        out.push((start..body_start + length, der));
    }
    out
}

/// The base64 characters of `text` without what folds lines; other characters are left out too.
fn characters(text: &str) -> impl Iterator<Item = (usize, u8)> + '_ {
    tokens(text).filter_map(|t| match t {
        Token::Base64(at, b) => Some((at, b)),
        Token::Fold | Token::Stop => None,
    })
}

/// The runs of base64 characters of `text`, across folds, with the offset of each character.
fn runs(text: &str) -> Vec<Vec<(usize, u8)>> {
    let mut out = Vec::new();
    let mut run = Vec::new();
    for token in tokens(text).chain([Token::Stop]) {
        match token {
            Token::Base64(at, b) if b != b'=' => run.push((at, b)),
            Token::Fold => {}
            Token::Base64(..) | Token::Stop => {
                if run.len() >= SHORTEST {
                    out.push(std::mem::take(&mut run));
                }
                run.clear();
            }
        }
    }
    out
}

enum Token {
    /// A base64 character, of the standard alphabet, and `=`.
    Base64(usize, u8),
    /// What folding puts between lines: blanks, line breaks, escaped ones, `#` of a comment.
    Fold,
    /// Anything else.
    Stop,
}

fn tokens(text: &str) -> impl Iterator<Item = Token> + '_ {
    let bytes = text.as_bytes();
    let mut at = 0;
    // Whether only blanks were seen since the last line break, real or escaped.
    let mut fresh = true;
    std::iter::from_fn(move || {
        let start = at;
        let (byte, length) = unescaped(bytes.get(at..)?)?;
        at += length;
        let token = match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' | b'=' => {
                Token::Base64(start, byte)
            }
            // The URL-safe alphabet.
            b'-' => Token::Base64(start, b'+'),
            b'_' => Token::Base64(start, b'/'),
            b' ' | b'\t' | b'\n' | b'\r' => Token::Fold,
            b'#' if fresh => Token::Fold,
            _ => Token::Stop,
        };
        fresh = matches!(byte, b'\n' | b'\r') || (fresh && matches!(token, Token::Fold));
        Some(token)
    })
}

/// The first character of `bytes`, escaped any number of times or not at all, and its length.
fn unescaped(bytes: &[u8]) -> Option<(u8, usize)> {
    let slashes = bytes.iter().take_while(|b| **b == b'\\').count();
    if slashes == 0 {
        return Some((*bytes.first()?, 1));
    }
    Some(match bytes.get(slashes) {
        Some(b'n' | b'\n') => (b'\n', slashes + 1),
        Some(b'r' | b'\r') => (b'\r', slashes + 1),
        Some(b't') => (b'\t', slashes + 1),
        Some(b'/') => (b'/', slashes + 1),
        Some(b'u') => match bytes.get(slashes + 1..slashes + 5).and_then(code_unit) {
            Some(byte) => (byte, slashes + 5),
            None => (b'\\', slashes),
        },
        _ => (b'\\', slashes),
    })
}

/// The ASCII character that four hexadecimal digits name.
fn code_unit(digits: &[u8]) -> Option<u8> {
    let digits = std::str::from_utf8(digits).ok()?;
    let code = u32::from_str_radix(digits, 16).ok()?;
    u8::try_from(code).ok().filter(u8::is_ascii)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edit::pem;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let contents = parts.concat();
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, &contents].concat()
    }

    /// Something with the outline of a certificate.
    fn certificate(seed: u8) -> Vec<u8> {
        let serial = der(2, &[&[seed; 16]]);
        let times = der(
            0x30,
            &[
                &der(0x17, &[b"260101000000Z"]),
                &der(0x17, &[b"360101000000Z"]),
            ],
        );
        let noise: Vec<u8> = (0..300u16)
            .map(|i| u8::try_from(i * 31 % 251).unwrap() ^ seed)
            .collect();
        let name = der(0x30, &[]);
        let tbs = der(
            0x30,
            &[
                &der(0xa0, &[&der(2, &[&[2]])]),
                &serial,
                &name,
                &name,
                &times,
                &name,
                &der(4, &[&noise]),
            ],
        );
        der(0x30, &[&tbs, &name, &der(3, &[&noise])])
    }

    /// The text hides exactly this certificate, at this place.
    fn hides(text: &str, seed: u8, place: &str) {
        let found = find_embedded_certificates(text, "f");
        let found: Vec<_> = found
            .iter()
            .map(|f| (f.place.to_string(), f.der.clone()))
            .collect();
        assert_eq!(found, [(place.to_owned(), certificate(seed))], "{text}");
    }

    fn folded(text: &str, width: usize, between: &str) -> String {
        let lines: Vec<&str> = text
            .as_bytes()
            .chunks(width)
            .map(|c| std::str::from_utf8(c).unwrap())
            .collect();
        lines.join(between)
    }

    #[test]
    fn pem_is_found_however_it_is_folded() {
        for seed in 0..8 {
            let block = pem::encode("CERTIFICATE", &certificate(seed));
            hides(&block, seed, "f:1:1");
            hides(
                &format!("ca: |\n    {}", block.replace('\n', "\n    ")),
                seed,
                "f:2:5",
            );
            hides(
                &format!("# ca:\n# {}", block.replace('\n', "\r\n# ")),
                seed,
                "f:2:3",
            );
            hides(
                &format!("{{\"ca\":\"{}\"}}", block.replace('\n', "\\n")),
                seed,
                "f:1:8",
            );
            hides(
                &format!(
                    "'{{\"ca\":\"{}\"}}'",
                    block.replace('\n', "\\\\n").replace('/', "\\/")
                ),
                seed,
                "f:1:9",
            );
            hides(
                &format!(
                    "ca = \"{}\"",
                    block.replace('\n', "\\u000a").replace('+', "\\u002B")
                ),
                seed,
                "f:1:7",
            );
            hides(&format!("ca: {}", block.replace('\n', " ")), seed, "f:1:5");
            hides(
                &format!("[\"{}\"]", block.trim_end().replace('\n', "\",\"")),
                seed,
                "f:1:3",
            );
        }
        hides(
            &pem::encode(
                "TRUSTED CERTIFICATE",
                &[certificate(1), der(0x30, &[])].concat(),
            ),
            1,
            "f:1:1",
        );
    }

    #[test]
    fn base64_is_found_of_pem_of_der_and_of_itself() {
        for seed in 0..8 {
            let block = pem::encode("CERTIFICATE", &certificate(seed));
            let once = STANDARD.encode(&block);
            hides(&format!("ca.crt: {once}\nnext: AAAA"), seed, "f:1:9");
            hides(
                &format!("ca: >-\n  {}\nnext", folded(&once, 76, "\n  ")),
                seed,
                "f:2:3",
            );
            hides(
                &format!("ca: \"{}\"", folded(&once, 60, "\\\n   ")),
                seed,
                "f:1:6",
            );
            hides(
                &format!("CA={}\nB=c", STANDARD.encode(&once)),
                seed,
                "f:1:4",
            );
            let config = format!("clusters:\n- ca: {once}\n");
            assert_eq!(
                find_embedded_certificates(&STANDARD.encode(&config), "f").len(),
                1
            );
            let raw = STANDARD.encode(certificate(seed));
            hides(&format!("x: {raw}"), seed, "f:1:4");
            hides(&format!("x: {}", folded(&raw, 64, "\n  ")), seed, "f:1:4");
            hides(
                &format!(
                    "{{\"x5c\":[\"{}\"]}}",
                    URL_SAFE_NO_PAD.encode(certificate(seed))
                ),
                seed,
                "f:1:10",
            );
        }
    }

    #[test]
    fn what_is_glued_in_front_does_not_hide_it() {
        let once = STANDARD.encode(pem::encode("CERTIFICATE", &certificate(3)));
        for glue in ["a", "ab", "abc", "word word\n", "- ", "/etc/x/"] {
            assert_eq!(
                find_embedded_certificates(&format!("{glue}{once}"), "f").len(),
                1,
                "{glue}"
            );
        }
    }

    #[test]
    fn every_certificate_of_a_bundle_is_found_and_nothing_else() {
        let bundle = pem::encode("CERTIFICATE", &certificate(1))
            + &pem::encode("CERTIFICATE", &certificate(2));
        assert_eq!(find_embedded_certificates(&bundle, "f").len(), 2);
        // Padding after the first one.
        let padded = pem::encode("CERTIFICATE", &[certificate(1), vec![0]].concat());
        assert!(padded.contains('='));
        assert_eq!(
            find_embedded_certificates(&(padded + &bundle), "f").len(),
            3
        );
        assert_eq!(
            find_embedded_certificates(&STANDARD.encode(&bundle), "f").len(),
            2
        );
        assert_eq!(
            find_embedded_certificates(&pem::encode("PUBLIC KEY", &der(0x30, &[&[7; 300]])), "f"),
            []
        );
        assert_eq!(
            find_embedded_certificates("-----BEGIN CERTIFICATE-----\n%%\n-----END", "f"),
            []
        );
        assert_eq!(find_embedded_certificates(&"MII".repeat(5000), "f"), []);
    }

    #[test]
    fn a_certificate_in_a_truncated_block_is_still_found() {
        let block = pem::encode("CERTIFICATE", &certificate(1));
        let cut = &block[..block.len() - 26];
        assert_eq!(find_embedded_certificates(cut, "f").len(), 1);
    }

    #[test]
    fn what_has_more_than_certificates_is_told_from_what_has_not() {
        let block = pem::encode("CERTIFICATE", &certificate(1));
        let twice = STANDARD.encode(STANDARD.encode(&block));
        let glued = format!("{}{block}\r\n", block.trim_end());
        let wrapped = STANDARD.encode(&glued).replace('L', "L\n");
        for text in [&block, &glued, &STANDARD.encode(&block), &twice, &wrapped] {
            assert!(are_only_certificates(text.as_bytes()), "{text}");
        }
        assert!(are_only_certificates(&certificate(1)));
        assert!(are_only_certificates(
            STANDARD.encode(certificate(1)).as_bytes()
        ));
        let token = format!("token: x\n{block}");
        let key = block.clone() + &pem::encode("EC PARAMETERS", &certificate(2));
        let inside = block.replacen('M', ":", 1);
        for text in [
            "",
            " \n",
            "x",
            &token,
            &key,
            &inside,
            &STANDARD.encode(&token),
        ] {
            assert!(!are_only_certificates(text.as_bytes()), "{text}");
        }
        let more = [certificate(1), b"secret".to_vec()].concat();
        assert!(!are_only_certificates(&more));
    }
}

//! PEM text: finding blocks, decoding and writing them.
//!
//! Knows the armour and its lines. It must not know what is inside a block. Reading is as lenient as
//! Go's (`encoding/pem`) about the text around blocks, indentation and line width, because
//! Kubernetes reads these files with it, and stricter about damage: a block that Go would silently
//! skip is an error here.

use super::secret::PrivateText;
use crate::diagnostic::{Code, Diagnostic, Place, Result};
use der::pem::{LineEnding, decode_vec, encode_string};
use der::zeroize::Zeroizing;

/// One block of a PEM text.
pub(super) struct Block {
    /// What stands after `BEGIN`.
    pub label: String,
    /// The decoded bytes; they may be private.
    pub der: Zeroizing<Vec<u8>>,
    /// Line of `BEGIN`, from 1.
    pub line: usize,
}

/// A line and the first column of a file.
pub(super) fn place(file: &str, line: usize) -> Place {
    Place {
        line,
        ..Place::start_of(file)
    }
}

/// Whether a label is that of a private key.
pub(super) fn is_private(label: &str) -> bool {
    label.ends_with("PRIVATE KEY")
}

/// Every block whose label `wanted` accepts, in order; other blocks and text are passed over. A
/// block without its end, an end without its begin, and a damaged body are `PemMalformed`.
pub(super) fn blocks(text: &str, file: &str, wanted: fn(&str) -> bool) -> Result<Vec<Block>> {
    let mut found = Vec::new();
    let mut open: Option<(usize, &str, Zeroizing<String>)> = None;
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if let Some(label) = boundary(line, "-----BEGIN ") {
            if let Some((begun, ..)) = open {
                return Err(malformed(file, begun, "a PEM block has no end"));
            }
            // Room for the whole, so that growing leaves no copy of a private body behind.
            open = Some((
                number,
                label,
                Zeroizing::new(String::with_capacity(text.len())),
            ));
        } else if let Some(label) = boundary(line, "-----END ") {
            match open.take() {
                Some((begun, opened, body)) if opened == label => {
                    if wanted(label) {
                        found.push(decode(label, &body, file, begun)?);
                    }
                }
                _ => {
                    return Err(malformed(
                        file,
                        number,
                        "a PEM block ends that did not begin",
                    ));
                }
            }
        } else if let Some((.., body)) = &mut open {
            body.push_str(line);
        }
    }
    match open {
        Some((begun, ..)) => Err(malformed(file, begun, "a PEM block has no end")),
        None => Ok(found),
    }
}

/// The label of a boundary line.
fn boundary<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    line.strip_prefix(start)?.strip_suffix("-----")
}

fn decode(label: &str, body: &str, file: &str, line: usize) -> Result<Block> {
    let damaged = || malformed(file, line, "the body of a PEM block is damaged");
    if body.is_empty() || !body.is_ascii() {
        return Err(damaged());
    }
    // The decoder insists on lines of 64 characters.
    let lines = body.as_bytes().chunks(64);
    let mut wrapped = Zeroizing::new(Vec::with_capacity(body.len() * 2 + 2 * label.len() + 64));
    for line in [format!("-----BEGIN {label}-----").as_bytes()]
        .into_iter()
        .chain(lines)
        .chain([format!("-----END {label}-----").as_bytes()])
    {
        wrapped.extend_from_slice(line);
        wrapped.push(b'\n');
    }
    let (_, der) = decode_vec(&wrapped).map_err(|_| damaged())?;
    Ok(Block {
        label: label.to_owned(),
        der: Zeroizing::new(der),
        line,
    })
}

fn malformed(file: &str, line: usize, reason: &str) -> Diagnostic {
    Diagnostic::new(
        Code::PemMalformed,
        reason,
        "restore the file, then take the snapshot again",
    )
    .at(place(file, line))
}

/// A public block: LF, 64 columns, a final newline.
pub(super) fn write(label: &str, der: &[u8]) -> String {
    // Fails only for lengths that no address space holds.
    encode_string(label, LineEnding::LF, der).unwrap_or_default()
}

/// A private block in the same form.
pub(super) fn write_private(label: &str, der: &[u8]) -> PrivateText {
    PrivateText::new(write(label, der))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(_: &str) -> bool {
        true
    }

    #[test]
    fn text_around_blocks_and_other_line_widths_are_read() {
        let text = "subject=x\r\n  -----BEGIN A-----\r\n  AAE\r\n  C\r\n  -----END A-----\r\ntail";
        let found = blocks(text, "f", any).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].label.as_str(), found[0].line), ("A", 2));
        assert_eq!(*found[0].der, [0, 1, 2]);
    }

    #[test]
    fn writing_then_reading_gives_the_same_bytes() {
        let bytes: Vec<u8> = (0..100).collect();
        let text = write("A", &bytes);
        assert!(text.starts_with("-----BEGIN A-----\n") && text.ends_with("\n-----END A-----\n"));
        assert_eq!(text.lines().nth(1).unwrap().len(), 64);
        assert_eq!(*blocks(&text, "f", any).unwrap()[0].der, bytes);
    }

    #[test]
    fn damage_is_an_error_with_its_line() {
        for (text, line) in [
            ("x\n-----BEGIN A-----\nAAEC\n", 2),
            ("-----BEGIN A-----\nAAEC\n-----BEGIN A-----\n", 1),
            ("AAEC\n-----END A-----\n", 2),
            ("-----BEGIN A-----\nAAEC\n-----END B-----\n", 3),
            ("\n\n-----BEGIN A-----\nAA!C\n-----END A-----\n", 3),
            ("-----BEGIN A-----\nAAECAA\n-----END A-----\n", 1),
            ("-----BEGIN A-----\n-----END A-----\n", 1),
        ] {
            let error = blocks(text, "f", any).map(|_| ()).unwrap_err();
            assert_eq!(error.code, Code::PemMalformed, "{text}");
            assert_eq!(error.place.unwrap().line, line, "{text}");
        }
    }
}

//! The few pieces of DER that certificates need: splitting a value into its elements without losing
//! a byte, and putting elements together again.
//!
//! Knows tags and lengths. It must not know what a certificate is. Splitting keeps the original
//! bytes of each element, because a re-issued certificate repeats its predecessor's subject, key and
//! extensions byte for byte, whatever encoding they were in.

use der::asn1::{GeneralizedTime, ObjectIdentifier, UtcTime};
use der::{DateTime, Decode, Encode, Header, Reader, SliceReader, Tag};
use std::time::Duration;

/// One element of a DER value.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    /// Its tag.
    pub tag: Tag,
    /// Its content.
    pub value: &'a [u8],
    /// Tag, length and content.
    pub whole: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements inside a constructed element that must have this tag.
    pub fn children(&self, tag: Tag) -> der::Result<Vec<Element<'a>>> {
        elements(self.expect(tag)?)
    }

    /// The content of an element that must have this tag.
    pub fn expect(&self, tag: Tag) -> der::Result<&'a [u8]> {
        if self.tag == tag {
            Ok(self.value)
        } else {
            Err(tag.value_error().into())
        }
    }

    /// The object identifier that this element must be.
    pub fn object_identifier(&self) -> der::Result<ObjectIdentifier> {
        ObjectIdentifier::from_der(self.whole)
    }
}

/// Splits the content of a constructed value.
pub(super) fn elements(content: &[u8]) -> der::Result<Vec<Element<'_>>> {
    let mut reader = SliceReader::new(content)?;
    let mut found = Vec::new();
    while !reader.is_finished() {
        let header = Header::peek(&reader)?;
        let whole = reader.tlv_bytes()?;
        let length = usize::try_from(header.length())?;
        found.push(Element {
            tag: header.tag(),
            value: &whole[whole.len() - length..],
            whole,
        });
    }
    Ok(found)
}

/// The single element that a whole DER document must be.
pub(super) fn document(bytes: &[u8]) -> der::Result<Element<'_>> {
    let mut found = elements(bytes)?;
    match (found.pop(), found.is_empty()) {
        (Some(element), true) => Ok(element),
        _ => Err(der::ErrorKind::Failed.into()),
    }
}

/// Tag bytes of what is put together here.
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
/// `[0]`, implicit, primitive.
pub(super) const CONTEXT_0: u8 = 0x80;
/// `[0]`, explicit.
pub(super) const EXPLICIT_0: u8 = 0xa0;
/// `[3]`, explicit.
pub(super) const EXPLICIT_3: u8 = 0xa3;

/// An element from its parts, in DER's shortest form of the length.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let significant = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
            // A length has at most eight bytes, so their number fits the low bits.
            out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
            out.extend_from_slice(significant);
        }
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

/// A BIT STRING of whole bytes.
pub(super) fn bit_string(bytes: &[u8]) -> Vec<u8> {
    element(BIT_STRING, &[&[0], bytes])
}

/// A time of a certificate from unix seconds: `UTCTime` through 2049, `GeneralizedTime` after (RFC
/// 5280, 4.1.2.5). `None` before 1970 and after 9999.
pub(super) fn time(seconds: i64) -> Option<Vec<u8>> {
    let since_epoch = Duration::from_secs(u64::try_from(seconds).ok()?);
    let date = DateTime::from_unix_duration(since_epoch).ok()?;
    if date.year() < 2050 {
        UtcTime::from_date_time(date).ok()?.to_der().ok()
    } else {
        GeneralizedTime::from_date_time(date).to_der().ok()
    }
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_take_their_shortest_form() {
        assert_eq!(element(OCTET_STRING, &[&[1, 2]]), [4, 2, 1, 2]);
        assert_eq!(element(SEQUENCE, &[&[0; 128]])[..3], [0x30, 0x81, 0x80]);
        assert_eq!(element(SEQUENCE, &[&[0; 300]])[..4], [0x30, 0x82, 1, 44]);
    }

    #[test]
    fn splitting_and_joining_gives_the_same_bytes() {
        let value = element(
            SEQUENCE,
            &[&element(INTEGER, &[&[0]]), &element(SEQUENCE, &[&[]])],
        );
        let parts = document(&value).unwrap().children(Tag::Sequence).unwrap();
        assert_eq!(parts.len(), 2);
        let joined: Vec<&[u8]> = parts.iter().map(|p| p.whole).collect();
        assert_eq!(element(SEQUENCE, &joined), value);
    }

    #[test]
    fn trailing_bytes_are_refused() {
        assert!(document(&[5, 0, 5, 0]).is_err());
        assert!(document(&[0x30, 2, 5]).is_err());
        assert!(document(&[]).is_err());
    }

    #[test]
    fn times_change_their_form_in_2050() {
        assert_eq!(
            time(2_524_607_999).unwrap(),
            [&[0x17, 13], &b"491231235959Z"[..]].concat()
        );
        assert_eq!(
            time(2_524_608_000).unwrap(),
            [&[0x18, 15], &b"20500101000000Z"[..]].concat()
        );
        assert!(time(-1).is_none());
        assert!(time(i64::MAX).is_none());
    }
}

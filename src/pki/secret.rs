//! Text that must never be seen: private keys in PEM.
//!
//! Knows how to hold a private text and how to forget it. It must not know what the text means, and
//! it offers no way to print it: whoever needs the text says `expose()`, which a reviewer can search
//! for.

use std::fmt;

use der::zeroize::Zeroizing;

/// A private text. It is overwritten when dropped and cannot be printed, compared or serialised.
#[derive(Clone)]
pub struct PrivateText(Zeroizing<String>);

impl PrivateText {
    /// Takes the text over; the caller must not keep another copy.
    #[must_use]
    pub fn new(text: String) -> PrivateText {
        PrivateText(Zeroizing::new(text))
    }

    /// The text itself, for the writer of `secrets/` and for decoding. Nothing else may call this.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<Zeroizing<String>> for PrivateText {
    fn from(text: Zeroizing<String>) -> PrivateText {
        PrivateText(text)
    }
}

impl fmt::Debug for PrivateText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateText(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_text_does_not_print_itself() {
        let text = PrivateText::new("correct horse".to_owned());
        assert_eq!(format!("{text:?}"), "PrivateText(..)");
        assert_eq!(format!("{text:#?}"), "PrivateText(..)");
        assert_eq!(text.expose(), "correct horse");
    }
}

//! A trust bundle: the certificates that a verifier trusts, as a file holds them.
//!
//! Knows order and distinctness. It must not know which CA is old or new: whoever widens or narrows
//! a trust says which certificate goes first.

use super::certificate::Certificate;

/// A non-empty ordered list of distinct certificates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bundle(Vec<Certificate>);

impl Bundle {
    /// Takes the certificates in order; a repeated one counts at its first place. `None` when there
    /// is none.
    #[must_use]
    pub fn new(certificates: Vec<Certificate>) -> Option<Bundle> {
        let mut distinct: Vec<Certificate> = Vec::with_capacity(certificates.len());
        for certificate in certificates {
            if !distinct.contains(&certificate) {
                distinct.push(certificate);
            }
        }
        (!distinct.is_empty()).then_some(Bundle(distinct))
    }

    /// The certificates in order.
    #[must_use]
    pub fn certificates(&self) -> &[Certificate] {
        &self.0
    }

    /// Whether this very certificate is trusted.
    #[must_use]
    pub fn contains(&self, certificate: &Certificate) -> bool {
        self.0.contains(certificate)
    }

    /// The blocks one after another, as Kubernetes reads them.
    #[must_use]
    pub fn to_pem(&self) -> String {
        self.0.iter().map(Certificate::to_pem).collect()
    }

    /// The same bundle with this certificate in the first place.
    #[must_use]
    pub fn with_first(&self, certificate: &Certificate) -> Bundle {
        let others = self.0.iter().filter(|c| *c != certificate);
        Bundle([certificate].into_iter().chain(others).cloned().collect())
    }

    /// The same bundle with this certificate in the last place.
    #[must_use]
    pub fn with_last(&self, certificate: &Certificate) -> Bundle {
        let others = self.0.iter().filter(|c| *c != certificate);
        Bundle(others.chain([certificate]).cloned().collect())
    }
}

//! What carota says when an input is bad: one error with a stable code, a place in the input, what
//! is wrong and what to do.
//!
//! A code never changes its meaning. Its sentence and its page (`carota explain CODE`) stand here,
//! beside each other, so that a message and its documentation cannot drift apart. Nothing in here
//! prints; the command line does.
//!
//! A diagnostic never quotes file contents: a snapshot may hold, by somebody's mistake, a private
//! value.

use std::fmt;

/// Declares every diagnostic code with its summary and its explanation.
macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $id:literal: $summary:literal, $explanation:literal;)+) => {
        /// A stable diagnostic code.
        #[allow(clippy::doc_markdown, reason = "the summaries are printed as they are, without markup")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = $summary] $variant,)+ }

        impl Code {
            /// Every code, in the order of its number.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)+];

            /// The code as printed and as taken by `carota explain`.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Code::$variant => $id,)+ }
            }

            /// One line that says what the code means.
            #[must_use]
            pub fn summary(self) -> &'static str {
                match self { $(Code::$variant => $summary,)+ }
            }

            /// Why it is an error, and what to do in general.
            #[must_use]
            pub fn explanation(self) -> &'static str {
                match self { $(Code::$variant => $explanation,)+ }
            }
        }
    };
}

codes! {
    TomlSyntax = "C001": "cluster.toml is not valid TOML, or has an unknown or missing key",
        "Every key is checked; a misspelt one is refused rather than ignored, because an ignored setting in a rotation is a wrong plan. The message names the key and the keys that exist at that place.";
    TomlValue = "C002": "a value in cluster.toml is out of its range or not of its form",
        "The message says which form is expected: a duration such as `14d`, a key algorithm such as `ecdsa-p256`, a date in RFC 3339, a subject such as `CN=name`.";
    HostileName = "C003": "a name could not be used safely in a path or a script",
        "Node names, user names and object names end up in paths and scripts. Only names that Kubernetes itself would accept are taken: lower-case letters, digits, `-` and `.`, at most 253 characters.";
    DuplicateNode = "C004": "a node is declared twice",
        "Each node is declared once in cluster.toml, by its name or by one pattern.";
    NodeWithoutSnapshot = "C005": "a declared node has no snapshot",
        "Run the collector on the node and put what it gathered under snapshot/nodes/<node>, or take the node out of cluster.toml.";
    SnapshotWithoutNode = "C006": "the snapshot holds a node that cluster.toml does not declare",
        "A node that is forgotten keeps the old trust and is locked out at the end. Declare it, or remove its snapshot if the node is gone.";
    FileUnreadable = "C007": "an input file cannot be read",
        "The file is missing, not a regular file, not UTF-8 where text is expected, or larger than a configuration file can be (4 MiB). If it is a file of the snapshot, take the snapshot again.";
    PrivateInSnapshot = "C008": "the snapshot holds a private key, token or password",
        "A snapshot is committed and reviewed; the collector replaces each private value by a `carota-kept:` reference. Take the snapshot with `carota collect`, and treat the value as disclosed if it was committed.";
    SnapshotTampered = "C009": "a file of the snapshot is not the one the collector recorded in FILES",
        "FILES holds the hash, mode and owner of each file. A file that was edited, added or lost after the collection cannot be trusted as a pre-image.";
    PemMalformed = "C010": "a PEM file cannot be decoded",
        "The file is truncated, has a damaged base64 body, or holds a block of an unexpected kind.";
    CertificateMalformed = "C011": "a certificate cannot be decoded",
        "The DER inside the PEM is not an X.509 certificate that carota can read.";
    KeyMismatch = "C012": "a private key does not belong to its certificate",
        "The public key of the certificate differs from that of the key. Nothing signed with it would verify.";
    NotACa = "C013": "a certificate that should sign is not a usable CA",
        "A CA certificate must be X.509 version 3 with basicConstraints CA:TRUE and, where it has a keyUsage, keyCertSign.";
    CaExpired = "C014": "a CA certificate is not valid for the whole planned window",
        "The old CA must stay valid until the last phase, the new one well beyond it. Move rotation.not_before, shorten rotation.window, or see the page on expired CAs.";
    SignerBundle = "C015": "a signer file holds several certificates",
        "kube-controller-manager takes one certificate in its --cluster-signing-cert-file and exits when elected with a bundle (kubeadm#1350).";
    SharedServiceAccountKey = "C016": "the ServiceAccount signing key is a CA key",
        "Replacing the CA would invalidate every token. Give ServiceAccounts their own key first.";
    HalfRotated = "C017": "a bundle stands where one CA is expected: an earlier rotation was not finished",
        "Finish or undo the earlier rotation first, then take the snapshot again.";
    ManifestShape = "C018": "a manifest or configuration has a shape that cannot be edited safely",
        "Edits keep every byte that they do not mean to change. Aliases, several documents in a file, duplicate keys or flags, and flags inside a shell command are refused at their place rather than guessed at.";
    YamlSyntax = "C019": "a file is not valid YAML",
        "The file would not be read by Kubernetes either.";
    EditMismatch = "C020": "an edit did not give what it should",
        "After each edit the text is parsed again and compared with the same edit made on the parsed value. This is a defect in carota: please report the shape of the file.";
    LockMismatch = "C021": "carota.lock does not fit the inputs",
        "The lock pins what was issued for these inputs: the new CAs with their names, keys and dates, which follow rotation.not_before, and each certificate. A longer rotation.window fits it, and keeps all that was issued. Where the inputs were meant to change and nothing of the rotation is installed anywhere, remove carota.lock and the folder secrets/keyring, and compile again: every new CA and certificate is then made anew. Where only a certificate's entry does not fit, remove that entry, and compile where the keyring is.";
    LockSyntax = "C022": "carota.lock cannot be read",
        "The lock is written by carota and not meant to be edited. Restore it from version control.";
    KeyringMissing = "C023": "something must be issued, and the CA key is not here",
        "Compile where secrets/keyring is, or import the CA, or restore carota.lock.";
    KeyringMismatch = "C024": "a key in the keyring does not fit carota.lock",
        "The keyring belongs to another lock. Restore the one or the other. Where nothing of the rotation is installed anywhere, remove both, carota.lock and the folder secrets/keyring, and compile again: every new CA is then made anew.";
    UnaccountedCa = "C025": "a CA certificate was found that no rule accounts for",
        "Something that carota does not know trusts, or keeps a copy of, a CA that is about to go. Declare it with [[trust_consumer]], which the message prints ready to paste.";
    UnknownLeaf = "C026": "a certificate signed by a rotated CA was found that no rule re-issues",
        "It dies with the old trust. Declare it with [[external_leaf]], which the message prints ready to paste; whoever owns it re-issues it before phase 17.";
    CaNotFound = "C027": "a CA to rotate was not found in the snapshot",
        "carota finds CAs by the flags that name them. Take it out of rotation.cas, or complete the snapshot.";
    ComponentMissing = "C028": "a control-plane component was not found in the snapshot",
        "Each control-plane node needs the manifest or unit of its API server.";
    LeafInvalid = "C029": "a certificate to re-issue is not usable as it is",
        "It is expired at the start of the window, or lacks what TLS needs. Renew it first, then take the snapshot again.";
    OutputForeign = "C030": "the output directory was not written by carota",
        "carota replaces only a plan/ that it wrote itself (it holds SHA256SUMS and plan.json of carota). Move the directory away.";
    OutputFailed = "C031": "the output could not be written",
        "The old plan is whole. See the reason in the message: space, permissions, or a file system that cannot rename.";
    Unsupported = "C032": "the cluster uses something that carota does not rotate",
        "The message says what and where. Nothing was guessed.";
    SnapshotShape = "C033": "the snapshot directory does not have the layout of the collector",
        "A snapshot has nodes/<node>/FILES with the files beside it (or, folded, nodes/<set>/FILES and NODES with the files in one form), cluster/<kind>.yaml, and users/<name>.kubeconfig.";
    ImportInvalid = "C034": "an imported CA cannot be used",
        "rotation.ca.<name>.certificate names a PEM file with the CA certificate first, its chain after it; key names the PEM file of its private key.";
    ObjectMalformed = "C035": "an API object of the snapshot lacks a field it must have",
        "Objects are read as `kubectl get -o yaml` prints them.";
    ProofBroken = "C036": "the plan would break a connection",
        "The proof found a client and a server that would not trust each other in some state of the rotation. The message names the connection, the phase and what would have to come first. A plan is refused with the same code while something is away meanwhile that rotation.accept does not name.";
    UnknownReader = "C037": "a program reads a rotated CA, or a certificate under one, in a way that is not proven",
        "The proof is made of connections, each with both of its sides. This program takes part in one that carota does not know: by a flag, a unit or a pod that names the file. Declare the file with [[trust_consumer]] or the certificate with [[external_leaf]], and see to that program yourself; the proof then says that it does not cover it.";
    Unsigned = "C038": "a certificate waits for somebody else's signature",
        "The key of its new CA is elsewhere (external = true, and no key). `carota request` writes a signing request for each such certificate below secrets/requests, with a new key; have them signed, and `carota import` pins what comes back in carota.lock.";
    UnknownSubject = "C040": "there is nothing to explain by that name",
        "`carota explain` takes a diagnostic code, a phase by its number or name, a gap of the Kubernetes page (G3), or the path of a file in a compiled plan or beside it.";
    PlanUnreadable = "C041": "a compiled plan cannot be read",
        "The directory has no plan.json and SHA256SUMS of this version of carota. Name a plan/ that carota compiled, or compile it again.";
    ObjectsLost = "C042": "the snapshot lacks a list of API objects",
        "The collector writes a list for every kind that it asks for, an empty one too, and notes in cluster/MISSING which kinds the API does not serve. A list that is neither there nor noted was lost: its objects might hold the old CA, and nothing would widen them. Restore the file, or run `sh collect.sh cluster --force`.";
    NotInCluster = "C043": "cluster.toml names something that the cluster of the snapshot does not have",
        "A workload to restart, an object or file with a copy of a CA, a certificate of somebody else, the name of the API's endpoint, the version of Kubernetes: each must be in the snapshot. A misspelt one would be passed over, and what was meant would be left undone. Correct it, take it out if it is gone, or take the snapshot again if it is new.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// A place in an input file, for people and editors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file as the user named it or as it lies under the user's folder; never absolute.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// The place of byte `offset` in `text`. Offsets past the end give the end.
    #[must_use]
    pub fn at(file: &str, text: &str, offset: usize) -> Place {
        let mut end = offset.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &text[..end];
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        Place {
            file: file.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// The byte offset of this place in its file's text. None if the text has no such line.
    #[must_use]
    pub fn offset_in(&self, text: &str) -> Option<usize> {
        let mut lines = text.split_inclusive('\n');
        let before = self.line.checked_sub(1)?;
        let start: usize = lines.by_ref().take(before).map(str::len).sum();
        let line = lines.next().unwrap_or_default();
        let column = self.column.checked_sub(1)?;
        let within = line
            .char_indices()
            .nth(column)
            .map_or(line.len(), |(i, _)| i);
        (self.line <= text.matches('\n').count() + 1).then_some(start + within)
    }

    /// The start of a file, where the file as a whole is meant.
    #[must_use]
    pub fn start_of(file: &str) -> Place {
        Place {
            file: file.to_owned(),
            line: 1,
            column: 1,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", one_line(&self.file), self.line, self.column)
    }
}

/// One error about the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of error.
    pub code: Code,
    /// Where, if it is about a file.
    pub place: Option<Place>,
    /// What is wrong, in one or a few sentences without a final line break.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

impl Diagnostic {
    /// An error that is about no single place.
    pub fn new(code: Code, reason: impl Into<String>, remedy: impl Into<String>) -> Diagnostic {
        Diagnostic {
            code,
            place: None,
            reason: reason.into(),
            remedy: remedy.into(),
        }
    }

    /// The same error with its place.
    #[must_use]
    pub fn at(mut self, place: Place) -> Diagnostic {
        self.place = Some(place);
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, one_line(&self.reason))?;
        if let Some(place) = &self.place {
            write!(f, "\n  --> {place}")?;
        }
        write!(f, "\n  = help: {}", printable(&self.remedy))
    }
}

impl std::error::Error for Diagnostic {}

/// The result of everything that reads input.
pub type Result<T, E = Diagnostic> = std::result::Result<T, E>;

/// `text` with control characters escaped, so that a hostile name cannot drive a terminal. Line
/// breaks stay: a remedy may have several lines.
#[must_use]
pub fn printable(text: &str) -> String {
    escaped(text, |c| is_unprintable(c) && c != '\n')
}

/// The same without line breaks, so that a hostile name cannot forge a second message.
#[must_use]
pub fn one_line(text: &str) -> String {
    escaped(text, is_unprintable)
}

/// Control characters, and those that reorder or break lines (as in "Trojan Source").
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escaped(text: &str, unwanted: fn(char) -> bool) -> String {
    text.chars()
        .fold(String::with_capacity(text.len()), |mut out, c| {
            if unwanted(c) {
                out.extend(c.escape_default());
            } else {
                out.push(c);
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ascending() {
        let ids: Vec<_> = Code::ALL.iter().map(|c| c.id()).collect();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(ids, sorted);
    }

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let text = "a\nbé=c\n";
        assert_eq!(Place::at("f", text, 0).to_string(), "f:1:1");
        assert_eq!(
            Place::at("f", text, text.find('=').unwrap()).to_string(),
            "f:2:3"
        );
        assert_eq!(Place::at("f", text, 1000).to_string(), "f:3:1");
        for offset in [0, 2, 3, 5, 7] {
            assert_eq!(Place::at("f", text, offset).offset_in(text), Some(offset));
        }
        let beyond = Place {
            line: 4,
            ..Place::start_of("f")
        };
        assert_eq!(beyond.offset_in(text), None);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let d = Diagnostic::new(Code::HostileName, "name \u{1b}[31mred", "rename it");
        assert!(!d.to_string().contains('\u{1b}'));
        assert_eq!(
            one_line("a\nerror[C001]\u{202e}"),
            "a\\nerror[C001]\\u{202e}"
        );
    }
}

//! carota.lock and the keyring, damaged, foreign or missing.

use std::fs;

use carota::diagnostic::Code;

use crate::case::{Case, place_in, tree};
use crate::certificates::{EARLY, LATE, ca, key};

const TOML: &str = "cluster.toml";
const LOCK: &str = "carota.lock";

#[test]
fn a_damaged_lock_is_refused() {
    let whole = Case::new().text(LOCK);
    Case::new()
        .put(LOCK, "")
        .refused(Code::LockSyntax, LOCK, "");
    Case::new().put(LOCK, [0, 1]).refused_with(Code::LockSyntax);
    Case::new()
        .put(LOCK, "hello\n")
        .refused_with(Code::LockSyntax);
    Case::new()
        .put(LOCK, &whole[..whole.len() / 2])
        .refused_with(Code::LockSyntax);
    Case::new()
        .put(LOCK, [b'#', 0xff])
        .refused(Code::FileUnreadable, LOCK, "\u{fffd}");
    Case::new()
        .put_huge(LOCK)
        .refused(Code::FileUnreadable, LOCK, "");
    Case::new()
        .edit(LOCK, "version = 1", "version = 2")
        .refused(Code::LockSyntax, LOCK, "");
    Case::new()
        .edit(LOCK, "serial = \"", "serial = \"00")
        .refused(Code::LockSyntax, LOCK, "");
    Case::new()
        .edit(LOCK, "inputs = ", "outputs = ")
        .refused(Code::LockSyntax, LOCK, "outputs");
    let last = whole.rfind("\n[[leaf]]").unwrap();
    Case::new()
        .put(LOCK, format!("{whole}{}", &whole[last..]))
        .refused(Code::LockSyntax, LOCK, "");
    Case::new()
        .remove(LOCK)
        .put_unlisted("carota.lock/file", "")
        .refused_with(Code::FileUnreadable);
}

#[test]
fn a_lock_of_another_rotation_is_refused() {
    Case::new()
        .edit(TOML, "id = \"2026-11-25\"", "id = \"2027-01\"")
        .refused(Code::LockMismatch, LOCK, "rotation = ");
}

#[test]
fn a_lock_whose_ca_is_not_the_one_that_is_asked_for_is_refused() {
    for (from, to) in [
        ("CN=kubernetes-ca-2026-11-25", "CN=kubernetes-ca-two"),
        ("key = \"ecdsa-p256\"", "key = \"ecdsa-p384\""),
        ("\nvalidity = \"10y\"", "\nvalidity = \"9y\""),
    ] {
        Case::new()
            .edit(TOML, from, to)
            .refused(Code::LockMismatch, LOCK, "[ca.\"cluster\"]");
    }
}

/// The moment at which everything begins is pinned. What is to be done about it is said at once and completely, and
/// does it; where only more time is wanted, nothing has to be given up.
#[test]
fn another_start_wants_new_cas_and_a_longer_window_wants_nothing() {
    let start = "not_before = 2026-11-25T00:00:00Z";
    let case = Case::unlocked();
    case.compiles();
    let (lock, plan) = (
        case.text(LOCK),
        case.text("plan/05-apiserver-trust/CHANGES"),
    );
    let phase = case.text("plan/05-apiserver-trust/PHASE");
    let case = case
        .remove("secrets")
        .edit(TOML, "window = \"14d\"", "window = \"30d\"");
    case.compiles();
    assert_eq!(case.text(LOCK), lock);
    assert_eq!(case.text("plan/05-apiserver-trust/CHANGES"), plan);
    let longer = phase.replace("\t1796774400\n", "\t1798156800\n");
    assert_eq!(case.text("plan/05-apiserver-trust/PHASE"), longer);

    let case = Case::unlocked();
    case.compiles();
    let case = case.edit(TOML, start, "not_before = 2026-12-20T00:00:00Z");
    let said = case.refused(Code::LockMismatch, LOCK, "[ca.\"cluster\"]");
    let wanted = "if nothing of this rotation is installed anywhere, remove carota.lock and the folder secrets/keyring";
    assert!(said.contains(wanted), "{said}");
    // Half of it is answered with the whole.
    let case = case.remove(LOCK);
    let said = case.refused(Code::KeyringMismatch, "secrets/keyring/cluster.key", "");
    assert!(said.contains(wanted), "{said}");
    let case = case.remove("secrets/keyring");
    case.compiles();
    assert_ne!(case.text(LOCK), lock);
}

#[test]
fn a_lock_whose_leaves_are_not_those_that_are_asked_for_is_refused() {
    for (from, to) in [
        ("leaf_validity = \"1y\"", "leaf_validity = \"200d\""),
        ("leaf_keys = \"keep\"", "leaf_keys = \"new\""),
    ] {
        Case::new()
            .edit(TOML, from, to)
            .refused_on_line(Code::LockMismatch, LOCK, "replaces = ");
    }
}

#[test]
fn a_key_that_the_lock_does_not_know_is_refused() {
    let file = "secrets/keyring/cluster.key";
    let key = key(&ca(EARLY, LATE));
    Case::new()
        .put(file, &key)
        .refused(Code::KeyringMismatch, file, "");
    Case::unlocked()
        .put(file, &key)
        .refused(Code::KeyringMismatch, file, "");
    Case::new()
        .put(file, &key[..key.len() / 2])
        .refused(Code::PemMalformed, file, "-----BEGIN");
    Case::new()
        .put_huge(file)
        .refused(Code::FileUnreadable, file, "");
    Case::new()
        .put("secrets", "")
        .refused_with(Code::FileUnreadable);
}

#[test]
fn a_leaf_that_is_not_in_the_lock_needs_the_keyring() {
    let lock = Case::new().text(LOCK);
    let last = lock.rfind("\n[[leaf]]").unwrap();
    Case::new()
        .put(LOCK, &lock[..last])
        .refused_with(Code::KeyringMissing);
}

#[test]
fn without_lock_and_keyring_new_cas_are_made() {
    let case = Case::unlocked();
    case.compiles();
    assert!(case.path("secrets/keyring/cluster.key").is_file());
}

#[test]
fn with_the_lock_and_without_the_keyring_the_plan_is_whole_and_what_is_missing_is_listed() {
    let with_keys = Case::unlocked();
    let said = with_keys.compiles();
    assert!(!said.contains("could not be written"), "{said}");
    let without = Case::new().put(LOCK, with_keys.text(LOCK));
    let said = without.compiles();
    let relative = |case: &Case| {
        let root = case.path("plan");
        let strip = |(path, what): (std::path::PathBuf, String)| {
            (path.strip_prefix(&root).unwrap().to_owned(), what)
        };
        tree(&root).into_iter().map(strip).collect::<Vec<_>>()
    };
    assert_eq!(relative(&with_keys), relative(&without));
    assert_eq!(with_keys.text(LOCK), without.text(LOCK));
    assert!(!without.path("secrets").exists());
    let mut listed: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("  "))
        .collect();
    listed.sort_unstable();
    let mut written = Vec::new();
    for (path, what) in tree(&with_keys.path("secrets/nodes")) {
        if what != "folder" {
            let path = path.strip_prefix(with_keys.path("")).unwrap().to_owned();
            written.push(path.to_string_lossy().into_owned());
        }
    }
    written.sort_unstable();
    assert_eq!(listed, written);
    assert!(said.contains(&format!("{} private files", written.len())));
}

#[test]
fn a_foreign_lock_is_refused() {
    // Of the same rotation of another cluster: the CAs fit, the leaves are others.
    let other = Case::unlocked();
    other.compiles();
    let foreign = fs::read_to_string(other.path(LOCK)).unwrap();
    let own = Case::new().text(LOCK);
    let leaves = |text: &str| text.find("\n[[leaf]]").unwrap();
    let mixed = own[..leaves(&own)].to_owned() + &foreign[leaves(&foreign)..];
    let said = Case::new()
        .put(LOCK, mixed)
        .refused_with(Code::LockMismatch);
    assert!(place_in(&said).starts_with("carota.lock:"), "{said}");
}

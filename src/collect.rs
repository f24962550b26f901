//! The collector: the one script that `carota collect` prints.
//!
//! It knows that the script and the scripts of a plan share the code that tells private values from
//! public ones, and puts that code in its place. It must not know what the script does; that stands in
//! `templates/collect.sh`.

const COLLECT: &str = include_str!("../templates/collect.sh");

/// Shell functions that make the public form of a file and undo it: `public_form`, `fill_form` and
/// `contains_private`. The scripts of a plan carry them as well, so that a node computes the same
/// hashes as the compiler.
pub const PUBLIC_FORM: &str = include_str!("../templates/public-form.sh");

/// Where `templates/collect.sh` takes the shared functions in: this line, alone.
const MARKER: &str = "# @public-form@\n";

/// The collector, complete: a POSIX shell script that needs no other file.
#[must_use]
pub fn script() -> String {
    COLLECT.replacen(MARKER, PUBLIC_FORM, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_is_complete() {
        assert_eq!(COLLECT.matches(MARKER).count(), 1);
        let script = script();
        assert!(script.starts_with("#!/bin/sh\n"));
        assert!(!script.contains("@public-form@"));
        assert!(script.contains("\npublic_form() {\n"));
    }
}

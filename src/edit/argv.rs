//! Command lines of Kubernetes components: which program runs, and with which flags.
//!
//! Knows how Go programs read flags (`--a=b`, `--a b`, `-a=b`; `_` and `-` are the same to
//! Kubernetes components) and what hides a command line (wrapper scripts, and shells that do more
//! than start one program). Does not know where a word came from: manifests and units bring their
//! words with their places.
//!
//! Whoever asks for a program or a flag gets an answer or an error, never a silent `None` because a
//! component was started in a way that is not understood.

use std::ops::Range;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::edit::shell;

/// A word of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word as the program gets it.
    pub text: String,
    /// Where its text stands.
    pub place: Place,
    /// Spelled as a block scalar or over several lines: not to be edited as a flag.
    pub(crate) block: bool,
}

/// A flag of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flag {
    /// The name without leading dashes, `_` written as `-`.
    pub name: String,
    /// The value; `None` when the flag has none (`--leader-elect`).
    pub value: Option<String>,
    /// Where the flag's text stands.
    pub place: Place,
    /// The dashes and the name as they are spelled.
    pub(crate) spelled: String,
    /// Index of the word with the name.
    pub(crate) word: usize,
    /// Index of the word with the value, where it is a word of its own.
    pub(crate) value_word: Option<usize>,
}

impl Flag {
    /// What a variable of the environment or a configuration file sets in place of a flag. It cannot be edited
    /// as one.
    #[must_use]
    pub fn elsewhere(name: String, value: String, place: Place) -> Flag {
        Flag {
            spelled: String::new(),
            name,
            value: Some(value),
            place,
            word: 0,
            value_word: None,
        }
    }
}

/// What a shell starts where it does nothing else: `sh -c 'exec kube-apiserver --a=b 1>>log 2>&1'`. Each word of
/// the program with its place in the last word, which is the command.
pub(crate) fn in_shell(words: &[Word]) -> Option<Vec<(Word, Range<usize>)>> {
    let [name, option, script] = words else {
        return None;
    };
    let shell = matches!(base_name(&name.text), "sh" | "bash" | "ash" | "dash");
    if !shell || !matches!(&*option.text, "-c" | "-ec" | "-exc" | "-xc") {
        return None;
    }
    let command = shell::simple_command(script.text.trim_end())?;
    let starts = |word: &shell::ShellWord| COMPONENTS.contains(&base_name(&word.text));
    command.first().filter(|word| starts(word))?;
    let inner = |word: shell::ShellWord| {
        let inner = Word {
            text: word.text,
            block: false,
            ..script.clone()
        };
        (inner, word.range)
    };
    Some(command.into_iter().map(inner).collect())
}

/// A command line that was read.
#[derive(Clone, Debug)]
pub struct CommandLine {
    words: Vec<Word>,
    program: Result<Option<String>>,
    flags: Result<Vec<Flag>>,
}

/// Programs whose flags matter to a rotation.
const COMPONENTS: [&str; 7] = [
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "cloud-controller-manager",
    "kube-proxy",
    "kubelet",
    "etcd",
];
/// Names so short that they occur in paths that start nothing.
const SHORT: [&str; 2] = ["kubelet", "etcd"];
const SHELLS: [&str; 8] = [
    "sh", "bash", "ash", "dash", "ksh", "zsh", "busybox", "toybox",
];
/// Programs that run the command line that follows their own options.
const WRAPPERS: [&str; 16] = [
    "catatonit",
    "chrt",
    "dumb-init",
    "env",
    "exec",
    "go-runner",
    "gosu",
    "ionice",
    "nice",
    "nohup",
    "setpriv",
    "stdbuf",
    "su-exec",
    "taskset",
    "timeout",
    "tini",
];

impl CommandLine {
    /// Reads `words`; `image` is the container's image, whose entry point runs when no program is named.
    #[must_use]
    pub fn read(words: Vec<Word>, image: Option<&str>) -> CommandLine {
        let found = find_program(&words, image);
        let flags = match &found {
            Err(e) => Err(e.clone()),
            Ok(found) => read_flags(&words, found),
        };
        CommandLine {
            words,
            program: found.map(|f| f.name),
            flags,
        }
    }

    /// The words, the program first.
    #[must_use]
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// The program: the base name of the first word, or behind a known wrapper, or of the image when only flags are given.
    pub fn program(&self) -> Result<Option<&str>> {
        match &self.program {
            Ok(name) => Ok(name.as_deref()),
            Err(e) => Err(e.clone()),
        }
    }

    /// The flags in order.
    pub fn flags(&self) -> Result<&[Flag]> {
        match &self.flags {
            Ok(flags) => Ok(flags),
            Err(e) => Err(e.clone()),
        }
    }

    /// The flag `name`; given twice it is an error at the second place.
    pub fn flag(&self, name: &str) -> Result<Option<&Flag>> {
        let name = normalise(name);
        let mut matching = self.flags()?.iter().filter(|f| f.name == name);
        let first = matching.next();
        match matching.next() {
            None => Ok(first),
            Some(second) => Err(Diagnostic::new(
                Code::ManifestShape,
                format!("`--{name}` is given twice"),
                "remove the one that does not count on the node, then take the snapshot again",
            )
            .at(second.place.clone())),
        }
    }

    /// The flag `name`, which must be there and have a value.
    pub(crate) fn flag_to_set(&self, name: &str) -> Result<&Flag> {
        let missing = |what: &str, place: Option<Place>| Diagnostic {
            code: Code::ManifestShape,
            place,
            reason: format!(
                "`--{}` {what}, so its value cannot be replaced",
                normalise(name)
            ),
            remedy: "take the snapshot again if the file changed".to_owned(),
        };
        let flag = self
            .flag(name)?
            .ok_or_else(|| missing("is not set", self.words.first().map(|w| w.place.clone())))?;
        if flag.value.is_none() {
            return Err(missing("has no value", Some(flag.place.clone())));
        }
        Ok(flag)
    }
}

/// `name` as Kubernetes components compare it.
fn normalise(name: &str) -> String {
    name.trim_start_matches('-').replace('_', "-")
}

fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The last part of an image's name, without tag, digest and architecture.
fn image_name(image: &str) -> &str {
    let name = base_name(image.split('@').next().unwrap_or(image));
    let name = name.split(':').next().unwrap_or(name);
    ["-amd64", "-arm64", "-arm", "-ppc64le", "-s390x"]
        .iter()
        .find_map(|arch| name.strip_suffix(arch))
        .unwrap_or(name)
}

struct Found {
    name: Option<String>,
    /// Index of the first word after the program.
    rest: usize,
    shell: Option<Place>,
}

fn find_program(words: &[Word], image: Option<&str>) -> Result<Found> {
    let image = image.map(image_name);
    let Some(first) = words.first() else {
        return Ok(Found {
            name: image.map(str::to_owned),
            rest: 0,
            shell: None,
        });
    };
    if first.text.starts_with('-') {
        return Ok(Found {
            name: image.map(str::to_owned),
            rest: 0,
            shell: None,
        });
    }
    let name = base_name(&first.text);
    if COMPONENTS.contains(&name) {
        return Ok(Found {
            name: Some(name.to_owned()),
            rest: 1,
            shell: None,
        });
    }
    if WRAPPERS.contains(&name)
        && let Some(i) = words
            .iter()
            .skip(1)
            .position(|w| COMPONENTS.contains(&base_name(&w.text)) && !w.text.starts_with('-'))
    {
        let name = base_name(&words[i + 1].text).to_owned();
        return Ok(Found {
            name: Some(name),
            rest: i + 2,
            shell: None,
        });
    }
    let shell = SHELLS.contains(&name);
    if let Some(word) = hidden_component(words, name, shell, image) {
        return Err(Diagnostic::new(
            Code::ManifestShape,
            "a component is started through a shell or a script, which hides its flags",
            "start the component directly, with its flags as items of `command`, then take the snapshot again",
        )
        .at(word.place.clone()));
    }
    Ok(Found {
        name: Some(name.to_owned()),
        rest: 1,
        shell: shell.then(|| first.place.clone()),
    })
}

/// The word that shows that something else than the first word's program runs a component.
fn hidden_component<'a>(
    words: &'a [Word],
    name: &str,
    shell: bool,
    image: Option<&str>,
) -> Option<&'a Word> {
    let first = words.first()?;
    let script = name.strip_suffix(".sh").is_some() || name.contains("wrapper");
    if name == "hyperkube" || (script && COMPONENTS.iter().any(|c| name.contains(c))) {
        return Some(first);
    }
    if (shell || script) && image.is_some_and(|i| COMPONENTS.contains(&i)) {
        return Some(words.get(1).unwrap_or(first));
    }
    words.iter().skip(1).find(|w| {
        if shell {
            mentions_component(&w.text)
        } else {
            COMPONENTS.contains(&base_name(&w.text))
        }
    })
}

/// Whether a shell text may start a component. Long names count anywhere; the short ones only as
/// the last part of a word.
fn mentions_component(script: &str) -> bool {
    COMPONENTS
        .iter()
        .any(|c| !SHORT.contains(c) && script.contains(c))
        || script
            .split(|c: char| c.is_whitespace() || ";&|()`\"'$={}<>".contains(c))
            .any(|word| SHORT.contains(&base_name(word)) || word == "hyperkube")
}

fn read_flags(words: &[Word], found: &Found) -> Result<Vec<Flag>> {
    let refuse = |reason: &str, place: &Place| {
        Diagnostic::new(
            Code::ManifestShape,
            reason,
            "write each flag as an item of its own, on one line, then take the snapshot again",
        )
        .at(place.clone())
    };
    if let Some(place) = &found.shell {
        return Err(refuse("the flags stand inside a shell command", place));
    }
    if let Some(block) = words.iter().find(|w| w.block) {
        return Err(refuse(
            "a flag is spelled as a block scalar or over several lines",
            &block.place,
        ));
    }
    let mut flags = Vec::new();
    let mut i = found.rest;
    while let Some(word) = words.get(i) {
        i += 1;
        if word.text == "--" {
            break;
        }
        let bare = word
            .text
            .strip_prefix("--")
            .or_else(|| word.text.strip_prefix('-'));
        let Some(bare) = bare.filter(|b| !b.is_empty()) else {
            continue;
        };
        let (bare_name, inline) = match bare.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (bare, None),
        };
        let spelled = word.text[..word.text.len() - bare.len() + bare_name.len()].to_owned();
        let next = words
            .get(i)
            .filter(|w| inline.is_none() && !w.text.starts_with('-'));
        let value_word = next.map(|_| i);
        i += usize::from(next.is_some());
        flags.push(Flag {
            name: normalise(bare_name),
            value: inline.or_else(|| next.map(|w| w.text.clone())),
            place: word.place.clone(),
            spelled,
            word: i - 1 - usize::from(next.is_some()),
            value_word,
        });
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(words: &[&str], image: Option<&str>) -> CommandLine {
        let words = words
            .iter()
            .enumerate()
            .map(|(i, w)| Word {
                text: (*w).to_owned(),
                place: Place {
                    file: "f".into(),
                    line: i + 1,
                    column: 1,
                },
                block: false,
            })
            .collect();
        CommandLine::read(words, image)
    }

    #[test]
    fn flags_are_read_as_go_reads_them() {
        let l = line(
            &[
                "/usr/bin/kube-apiserver",
                "--a=b=c",
                "--c_d",
                "e",
                "-f=",
                "--g",
                "--h-i",
                "--",
                "--z=1",
            ],
            None,
        );
        let read: Vec<_> = l
            .flags()
            .unwrap()
            .iter()
            .map(|f| (f.name.as_str(), f.value.as_deref()))
            .collect();
        assert_eq!(
            read,
            [
                ("a", Some("b=c")),
                ("c-d", Some("e")),
                ("f", Some("")),
                ("g", None),
                ("h-i", None)
            ]
        );
        assert_eq!(l.flag("h_i").unwrap().unwrap().place.line, 7);
        assert_eq!(l.program().unwrap(), Some("kube-apiserver"));
    }

    #[test]
    fn a_flag_given_twice_is_an_error_at_the_second_place_once_asked_for() {
        let l = line(&["etcd", "--a=1", "--b=1", "-a", "2"], None);
        assert!(l.flag("b").unwrap().is_some());
        assert_eq!(l.flag("a").unwrap_err().place.unwrap().line, 4);
    }

    #[test]
    fn the_program_is_found_behind_wrappers_and_from_the_image() {
        let program = |w: &[&str], image| line(w, image).program().unwrap().map(str::to_owned);
        assert_eq!(
            program(
                &["--a=b"],
                Some("r.example/kube-apiserver-amd64:v1@sha256:0")
            ),
            Some("kube-apiserver".into())
        );
        assert_eq!(program(&[], None), None);
        let go = line(
            &[
                "/go-runner",
                "--log-file=/l",
                "/usr/local/bin/kube-scheduler",
                "--v=2",
            ],
            None,
        );
        assert_eq!(go.program().unwrap(), Some("kube-scheduler"));
        assert_eq!(go.flags().unwrap().len(), 1);
        assert_eq!(
            program(&["etcdctl", "--cacert=/x"], Some("etcd:3")),
            Some("etcdctl".into())
        );
        assert_eq!(
            program(
                &["/kube-apiserver-healthcheck"],
                Some("kops/kube-apiserver-healthcheck:1")
            ),
            Some("kube-apiserver-healthcheck".into())
        );
    }

    #[test]
    fn a_component_hidden_in_a_shell_or_script_is_never_silent() {
        for words in [
            &["/bin/sh", "-c", "exec kube-apiserver --x"][..],
            &["sh", "-ec", "/usr/local/bin/etcd --x >>/var/log/etcd.log"],
            &["/run-kube-apiserver.sh"],
            &["/hyperkube", "apiserver"],
            &["/my-init", "/usr/bin/kubelet", "--x"],
        ] {
            let l = line(words, None);
            assert_eq!(l.program().unwrap_err().code, Code::ManifestShape);
            assert!(l.flags().is_err());
        }
        assert!(
            line(&["sh", "-c", "/start"], Some("etcd:3"))
                .program()
                .is_err()
        );
    }

    #[test]
    fn an_ordinary_shell_container_is_fine_until_its_flags_are_asked_for() {
        let l = line(
            &["sh", "-c", "cp /etc/kubernetes/pki/etcd/ca.crt /x"],
            Some("busybox"),
        );
        assert_eq!(l.program().unwrap(), Some("sh"));
        assert_eq!(l.flags().unwrap_err().place.unwrap().line, 1);
    }
}

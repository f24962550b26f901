//! systemd services: the command line that a unit, its drop-ins and its environment files make, and
//! replacing the value of a flag where its text stands.
//!
//! Knows how settings of several files add up, and how variables get into a command line. Does not
//! know where units lie or which drop-ins apply: the caller gives the texts in systemd's order.

use crate::diagnostic::{Code, Diagnostic, Place, Result};
pub use crate::edit::argv::Flag;
use crate::edit::argv::{CommandLine, Word};
use crate::edit::unit_syntax::{
    Char, Escapes, Located, Setting, env_file, settings, text_of, words,
};
use crate::edit::yaml::{Edit, splice};

/// A service as its files make it.
#[derive(Clone, Debug)]
pub struct Unit {
    sources: Vec<Source>,
    /// How many of the sources are fragments; environment files follow.
    fragments: usize,
    words: Vec<Located>,
    line: CommandLine,
    variables: Vec<Variable>,
    environment: Environment,
}

/// A text that was given. `None` is a file that does not exist.
#[derive(Clone, Debug)]
struct Source {
    file: String,
    text: Option<String>,
}

/// A variable of the service's environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where its value stands.
    pub place: Place,
}

/// An `EnvironmentFile=` setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvironmentFile {
    /// The absolute path on the node.
    pub path: String,
    /// With `-`: the file may be absent.
    pub optional: bool,
    /// Where it is named.
    pub place: Place,
}

impl Unit {
    /// The environment files that the fragments name, in order, so that the caller can give them to
    /// [`Unit::load`].
    pub fn environment_files(fragments: &[(&str, &str)]) -> Result<Vec<EnvironmentFile>> {
        let sources: Vec<Source> = fragments.iter().map(|(f, t)| source(f, Some(t))).collect();
        let mut files: Vec<EnvironmentFile> = Vec::new();
        for (i, setting) in service_settings(&sources, sources.len()) {
            if setting.key != "EnvironmentFile" {
                continue;
            }
            if setting.value.is_empty() {
                files.clear();
                continue;
            }
            let text = text_of(&setting.value);
            let path = text.strip_prefix('-').unwrap_or(&text);
            let place = sources[i].place(setting.start);
            if !path.starts_with('/') || path.contains(['*', '?', '[', '%']) {
                return Err(refused(
                    "an environment file whose path is a pattern",
                    place,
                ));
            }
            files.push(EnvironmentFile {
                path: path.to_owned(),
                optional: path.len() < text.len(),
                place,
            });
        }
        Ok(files)
    }

    /// Reads a unit and its drop-ins, in systemd's order, with its environment files. A fragment or
    /// file is a name for places and its text; `None` is a file that does not exist. The name of an
    /// environment file ends in its absolute path on the node.
    pub fn load(fragments: &[(&str, &str)], env_files: &[(&str, Option<&str>)]) -> Result<Unit> {
        let sources: Vec<Source> = fragments
            .iter()
            .map(|(f, t)| source(f, Some(t)))
            .chain(env_files.iter().map(|(f, t)| source(f, *t)))
            .collect();
        let named = Unit::environment_files(fragments)?;
        let environment = environment(&sources, fragments.len(), &named)?;
        let words = command(&sources, fragments.len(), &environment)?;
        let line = CommandLine::read(
            words
                .iter()
                .map(|w| Word {
                    text: w.text(),
                    place: sources[w.source].place(w.start_of_text()),
                    block: false,
                })
                .collect(),
            None,
        );
        let variables = environment
            .iter()
            .map(|(name, value, at)| Variable {
                name: name.clone(),
                value: text_of(value),
                place: value
                    .first()
                    .map_or_else(|| at.clone(), |c| sources[c.source].place(c.start)),
            })
            .collect();
        Ok(Unit {
            sources,
            fragments: fragments.len(),
            words,
            line,
            variables,
            environment,
        })
    }

    /// The words of the command line, the program's path first.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        self.words.iter().map(Located::text).collect()
    }

    /// The base name of the program. An error where it may hide in a shell command or a script.
    pub fn program(&self) -> Result<Option<&str>> {
        self.line.program()
    }

    /// The flags in order.
    pub fn flags(&self) -> Result<&[Flag]> {
        self.line.flags()
    }

    /// One flag; given twice it is an error at the second place.
    pub fn flag(&self, name: &str) -> Result<Option<&Flag>> {
        self.line.flag(name)
    }

    /// The value of one flag.
    pub fn flag_value(&self, name: &str) -> Result<Option<&str>> {
        Ok(self.flag(name)?.and_then(|f| f.value.as_deref()))
    }

    /// The environment of the service, as far as its files set it.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// One variable of the environment.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .iter()
            .find(|v| v.name == name)
            .map(|v| v.value.as_str())
    }

    /// The text of a source: fragments first, then environment files, as given to [`Unit::load`].
    #[must_use]
    pub fn text(&self, index: usize) -> Option<&str> {
        self.sources.get(index)?.text.as_deref()
    }

    /// Replaces the value of a flag where its text stands. Gives the index of the source that changed and
    /// its new text.
    pub fn set_flag(&self, name: &str, new: &str) -> Result<(usize, String)> {
        let (index, changed) = self.with_flag(name, new)?;
        Ok((index, changed.text(index).unwrap_or_default().to_owned()))
    }

    /// The unit with another value of a flag, and the index of the source that differs.
    pub fn with_flag(&self, name: &str, new: &str) -> Result<(usize, Unit)> {
        let flag = self.line.flag_to_set(name)?;
        let (index, range) = self.span_of(flag)?;
        let changed = self.spliced(index, range, new, &flag.place)?;
        if changed.argv() != self.expected(flag, new) {
            return Err(not_this_value(&flag.place));
        }
        Ok((index, changed))
    }

    /// The unit with another value of a variable of its environment, and the index of the source that differs.
    pub fn with_variable(&self, name: &str, new: &str) -> Result<(usize, Unit)> {
        let Some((_, value, at)) = self.environment.iter().find(|(n, ..)| n == name) else {
            let place = self.sources[0].place(0);
            return Err(refused("a variable that is not set", place));
        };
        let (Some(first), Some(last)) = (value.first(), value.last()) else {
            return Err(refused("an empty value", at.clone()));
        };
        let place = self.sources[first.source].place(first.start);
        if !in_one_piece(value) || new.contains(' ') {
            return Err(refused(
                "the value is put together from several pieces",
                place,
            ));
        }
        let index = first.source;
        let changed = self.spliced(index, first.start..last.end, new, &place)?;
        let values = |unit: &Unit, set: Option<&str>| -> Vec<(String, String)> {
            let of = |v: &Variable| match set {
                Some(new) if v.name == name => new.to_owned(),
                _ => v.value.clone(),
            };
            let all = unit.variables.iter();
            all.map(|v| (v.name.clone(), of(v))).collect()
        };
        if values(&changed, None) != values(self, Some(new)) || changed.argv() != self.argv() {
            return Err(not_this_value(&place));
        }
        Ok((index, changed))
    }

    /// The unit with another text in place of a range of a source.
    fn spliced(
        &self,
        index: usize,
        range: std::ops::Range<usize>,
        new: &str,
        place: &Place,
    ) -> Result<Unit> {
        let writable = |c: char| c.is_alphanumeric() || "/._-:=,@+~ ".contains(c);
        if !new.chars().all(writable) || new != new.trim() {
            return Err(refused(
                "the new value holds a character that systemd would read as syntax",
                place.clone(),
            ));
        }
        let mut changed = self.sources.clone();
        let edited = changed[index]
            .text
            .as_deref()
            .and_then(|t| splice(t, &[Edit::new(range, new)]));
        if edited.is_none() {
            return Err(refused(
                "the value stands in a file that does not exist",
                place.clone(),
            ));
        }
        changed[index].text = edited;
        self.reload(&changed)
    }

    fn reload(&self, sources: &[Source]) -> Result<Unit> {
        let (fragments, env_files) = sources.split_at(self.fragments);
        let fragments: Vec<_> = fragments
            .iter()
            .map(|s| (s.file.as_str(), s.text.as_deref().unwrap_or_default()))
            .collect();
        let env_files: Vec<_> = env_files
            .iter()
            .map(|s| (s.file.as_str(), s.text.as_deref()))
            .collect();
        Unit::load(&fragments, &env_files)
    }

    fn expected(&self, flag: &Flag, new: &str) -> Vec<String> {
        let mut argv = self.argv();
        match flag.value_word {
            Some(i) => new.clone_into(&mut argv[i]),
            None => argv[flag.word] = format!("{}={new}", flag.spelled),
        }
        argv
    }

    /// The file and the bytes that spell the value of `flag`.
    fn span_of(&self, flag: &Flag) -> Result<(usize, std::ops::Range<usize>)> {
        let chars = &self.words[flag.value_word.unwrap_or(flag.word)].chars;
        let skip = if flag.value_word.is_some() {
            0
        } else {
            flag.spelled.chars().count() + 1
        };
        let value = &chars[skip..];
        let (first, last) = match (value.first(), value.last()) {
            (Some(first), Some(last)) => (*first, *last),
            // An empty value: after the `=`.
            _ => match chars.last() {
                Some(equals) => (
                    Char {
                        start: equals.end,
                        ..*equals
                    },
                    *equals,
                ),
                None => return Err(refused("an empty value in quotes", flag.place.clone())),
            },
        };
        if !in_one_piece(value) {
            return Err(refused(
                "the value is put together from several pieces",
                flag.place.clone(),
            ));
        }
        Ok((first.source, first.start..last.end))
    }
}

impl Source {
    fn place(&self, offset: usize) -> Place {
        Place::at(&self.file, self.text.as_deref().unwrap_or_default(), offset)
    }
}

impl Located {
    /// Where the text of the word begins, without a quote before it.
    fn start_of_text(&self) -> usize {
        self.chars
            .first()
            .filter(|c| c.source == self.source)
            .map_or(self.start, |c| c.start)
    }
}

fn source(file: &str, text: Option<&str>) -> Source {
    Source {
        file: file.to_owned(),
        text: text.map(str::to_owned),
    }
}

/// Whether characters stand one after another in one text.
fn in_one_piece(chars: &[Char]) -> bool {
    chars
        .windows(2)
        .all(|w| w[0].source == w[1].source && w[0].end == w[1].start)
}

fn not_this_value(place: &Place) -> Diagnostic {
    refused(
        "the text of this value makes up more than this value, or needs other quotes for the new one",
        place.clone(),
    )
}

fn refused(reason: &str, place: Place) -> Diagnostic {
    Diagnostic::new(
        Code::ManifestShape,
        reason,
        "write the flag out in the unit, with its value in one piece, then take the snapshot again",
    )
    .at(place)
}

/// The settings of `[Service]` in all fragments, in order, with the index of the fragment.
fn service_settings(sources: &[Source], fragments: usize) -> Vec<(usize, Setting)> {
    let mut out = Vec::new();
    for (i, source) in sources[..fragments].iter().enumerate() {
        let all = settings(source.text.as_deref().unwrap_or_default(), i);
        out.extend(
            all.into_iter()
                .filter(|s| s.section == "Service")
                .map(|s| (i, s)),
        );
    }
    out
}

type Environment = Vec<(String, Vec<Char>, Place)>;

fn assign(environment: &mut Environment, name: String, value: Vec<Char>, at: Place) {
    environment.retain(|(n, ..)| *n != name);
    environment.push((name, value, at));
}

/// `Environment=`, then the environment files over it, then what `UnsetEnvironment=` takes away.
fn environment(
    sources: &[Source],
    fragments: usize,
    files: &[EnvironmentFile],
) -> Result<Environment> {
    let mut environment = Environment::new();
    let mut unset = Vec::new();
    for (i, setting) in service_settings(sources, fragments) {
        let place = sources[i].place(setting.start);
        let list = match setting.key.as_str() {
            "Environment" | "UnsetEnvironment" => split(&sources[i], &setting.value, Escapes::C)?,
            _ => continue,
        };
        if setting.key == "UnsetEnvironment" {
            unset.extend(list.iter().map(Located::text));
            continue;
        }
        if list.is_empty() {
            environment.clear();
        }
        for word in list {
            let word = percent(&word.chars);
            if let Some(equals) = word.iter().position(|c| c.c == '=') {
                assign(
                    &mut environment,
                    text_of(&word[..equals]),
                    word[equals + 1..].to_vec(),
                    place.clone(),
                );
            }
        }
    }
    for named in files {
        let given = sources
            .iter()
            .enumerate()
            .skip(fragments)
            .find(|(_, s)| s.file == named.path || s.file.ends_with(&named.path));
        match given.and_then(|(i, s)| Some((i, s, s.text.as_deref()?))) {
            Some((i, source, text)) => {
                for (name, value) in env_file(text, i) {
                    assign(&mut environment, name, value, source.place(0));
                }
            }
            None if named.optional => {}
            None => {
                return Err(refused(
                    "an environment file that is not in the snapshot",
                    named.place.clone(),
                ));
            }
        }
    }
    environment.retain(|(name, value, _)| {
        let whole = format!("{name}={}", text_of(value));
        !unset.iter().any(|u| u == name || *u == whole)
    });
    Ok(environment)
}

fn split(source: &Source, value: &[Char], escapes: Escapes) -> Result<Vec<Located>> {
    words(value, escapes).map_err(|at| {
        refused(
            "quotes or an escape that systemd would not take",
            source.place(at),
        )
    })
}

/// `%%` as `%`. Other specifiers stay as they are: what they stand for is not in the files.
fn percent(chars: &[Char]) -> Vec<Char> {
    let mut out: Vec<Char> = Vec::new();
    let mut rest = chars;
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match rest.first() {
            Some(second) if first.c == '%' && second.c == '%' => {
                out.push(Char {
                    end: second.end,
                    ..first
                });
                rest = &rest[1..];
            }
            _ => out.push(first),
        }
    }
    out
}

/// The one command of `ExecStart=`, variables put in.
fn command(
    sources: &[Source],
    fragments: usize,
    environment: &Environment,
) -> Result<Vec<Located>> {
    let mut commands: Vec<(usize, Setting)> = Vec::new();
    for (i, setting) in service_settings(sources, fragments) {
        if setting.key == "ExecStart" {
            if setting.value.is_empty() {
                commands.clear();
            } else {
                commands.push((i, setting));
            }
        }
    }
    let (i, setting) = match commands.as_slice() {
        [] => {
            let file = sources.first().map_or("", |s| s.file.as_str());
            return Err(refused(
                "a unit without `ExecStart=`",
                Place::start_of(file),
            ));
        }
        [one] => one,
        [_, (i, second), ..] => {
            return Err(refused(
                "a second `ExecStart=`",
                sources[*i].place(second.start),
            ));
        }
    };
    let mut list = split(&sources[*i], &setting.value, Escapes::C)?;
    if let Some(next) = list
        .iter()
        .find(|w| w.chars.len() == 1 && w.chars[0].c == ';' && w.chars[0].end - w.start == 1)
    {
        return Err(refused(
            "several commands in one `ExecStart=`",
            sources[*i].place(next.start),
        ));
    }
    let prefix = list.first().map_or(0, |w| {
        w.chars
            .iter()
            .take_while(|c| "@-:+!|".contains(c.c))
            .count()
    });
    let prefixes = list.first_mut().map_or_else(String::new, |w| {
        w.chars.drain(..prefix).map(|c| c.c).collect()
    });
    if prefixes.contains('@') && list.len() > 1 {
        list.remove(1);
    }
    let mut out = Vec::new();
    for (n, word) in list.into_iter().enumerate() {
        let word = Located {
            chars: percent(&word.chars),
            ..word
        };
        if n == 0 || prefixes.contains(':') {
            out.push(word);
        } else {
            out.extend(expand(sources, &word, environment)?);
        }
    }
    Ok(out)
}

/// A word with its variables: `$NAME` alone becomes the words of the value, `${NAME}` its text.
fn expand(sources: &[Source], word: &Located, environment: &Environment) -> Result<Vec<Located>> {
    let value_of = |name: &str| {
        environment
            .iter()
            .find(|(n, ..)| n == name)
            .map(|(_, v, _)| v.as_slice())
    };
    if word.chars.len() > 1 && word.chars[0].c == '$' && !matches!(word.chars[1].c, '{' | '$') {
        let value = value_of(&text_of(&word.chars[1..])).unwrap_or_default();
        return match value.first() {
            Some(first) => split(&sources[first.source], value, Escapes::Literal),
            None => Ok(Vec::new()),
        };
    }
    let mut chars: Vec<Char> = Vec::new();
    let mut rest = word.chars.as_slice();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        match rest.first().map(|c| c.c) {
            Some('$') if first.c == '$' => {
                chars.push(Char {
                    end: rest[0].end,
                    ..first
                });
                rest = &rest[1..];
            }
            Some('{') if first.c == '$' => match rest.iter().position(|c| c.c == '}') {
                Some(close) => {
                    chars
                        .extend_from_slice(value_of(&text_of(&rest[1..close])).unwrap_or_default());
                    rest = &rest[close + 1..];
                }
                None => chars.push(first),
            },
            _ => chars.push(first),
        }
    }
    // A flag that comes out of a variable as a whole stands where the variable is set.
    let (source, start) = chars
        .first()
        .map_or((word.source, word.start), |c| (c.source, c.start));
    Ok(vec![Located {
        chars,
        source,
        start,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: &str = "[Unit]\nDescription=kubelet\n[Service]\nExecStart=/usr/bin/kubelet\n";
    const DROP_IN: &str = "[Service]
Environment=\"KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/b.conf --kubeconfig=/etc/k.conf\"
Environment=DIR=/var/lib/kubelet 'ONE=a b'
EnvironmentFile=-/var/lib/kubelet/flags.env
EnvironmentFile=-/etc/default/kubelet
# reset
ExecStart=
ExecStart=-/usr/bin/kubelet $KUBECONFIG_ARGS --config=${DIR}/config.yaml \\
  # more to come
  --one=${ONE} $NONE ${NONE} $ARGS --tls-cert-file '/etc/a b.crt' --cost=$$5 100%%
";
    const ENV: &str = "# by kubeadm\nARGS=\"--client-ca-file=/etc/ca.crt --node-labels='x=y'\"\n";

    fn unit() -> Unit {
        Unit::load(
            &[("u", UNIT), ("d", DROP_IN)],
            &[
                ("n/var/lib/kubelet/flags.env", Some(ENV)),
                ("n/etc/default/kubelet", None),
            ],
        )
        .unwrap()
    }

    #[test]
    fn the_command_line_is_what_systemd_runs() {
        let u = unit();
        assert_eq!(
            u.argv(),
            [
                "/usr/bin/kubelet",
                "--bootstrap-kubeconfig=/etc/b.conf",
                "--kubeconfig=/etc/k.conf",
                "--config=/var/lib/kubelet/config.yaml",
                "--one=a b",
                "",
                "--client-ca-file=/etc/ca.crt",
                "--node-labels=x=y",
                "--tls-cert-file",
                "/etc/a b.crt",
                "--cost=$5",
                "100%"
            ]
        );
        assert_eq!(u.program().unwrap(), Some("kubelet"));
        let place = |name| u.flag(name).unwrap().unwrap().place.to_string();
        assert_eq!(place("kubeconfig"), "d:2:65");
        assert_eq!(place("client-ca-file"), "n/var/lib/kubelet/flags.env:2:7");
        assert_eq!(place("config"), "d:8:46");
        assert_eq!(u.variable("ONE"), Some("a b"));
        assert_eq!(
            u.variables().last().unwrap().place.to_string(),
            "n/var/lib/kubelet/flags.env:2:7"
        );
    }

    #[test]
    fn a_flag_is_edited_where_its_text_stands() {
        let u = unit();
        assert_eq!(
            u.set_flag("client-ca-file", "/etc/b.crt").unwrap(),
            (2, ENV.replace("/etc/ca.crt", "/etc/b.crt"))
        );
        assert_eq!(
            u.set_flag("kubeconfig", "/x").unwrap(),
            (1, DROP_IN.replace("/etc/k.conf", "/x"))
        );
        assert_eq!(
            u.set_flag("tls-cert-file", "/c d").unwrap(),
            (1, DROP_IN.replace("/etc/a b.crt", "/c d"))
        );
        assert_eq!(
            u.set_flag("one", "c").unwrap(),
            (1, DROP_IN.replace("a b'", "c'"))
        );
    }

    #[test]
    fn what_cannot_be_written_in_one_place_is_refused() {
        let u = unit();
        for (flag, value) in [
            ("config", "/x"),
            ("kubeconfig", "/a b"),
            ("kubeconfig", "/$x"),
            ("absent", "/x"),
        ] {
            assert_eq!(
                u.set_flag(flag, value).unwrap_err().code,
                Code::ManifestShape,
                "{flag}"
            );
        }
        let twice = "[Service]\nEnvironment=D=/x\nExecStart=/k --a=${D} --b=${D}\n";
        assert!(
            Unit::load(&[("u", twice)], &[])
                .unwrap()
                .set_flag("a", "/y")
                .is_err()
        );
    }

    #[test]
    fn ambiguous_units_are_refused_at_their_place() {
        let place = |text: &str| {
            Unit::load(&[("u", text)], &[])
                .unwrap_err()
                .place
                .unwrap()
                .to_string()
        };
        assert_eq!(place("[Service]\nExecStart=/a\nExecStart=/b\n"), "u:3:1");
        assert_eq!(place("[Service]\nExecStart=/a ; /b\n"), "u:2:14");
        assert_eq!(place("[Service]\nExecStart=/a \"b\n"), "u:2:15");
        assert_eq!(
            place("[Service]\nEnvironmentFile=/x\nExecStart=/a\n"),
            "u:2:1"
        );
        assert_eq!(
            place("[Service]\nEnvironmentFile=-/x*\nExecStart=/a\n"),
            "u:2:1"
        );
        assert_eq!(place("[Unit]\nExecStart=/a\n"), "u:1:1");
    }

    #[test]
    fn a_kubelet_started_by_a_shell_is_never_silent() {
        let u = Unit::load(
            &[("u", "[Service]\nExecStart=/bin/sh -c 'exec kubelet --x'\n")],
            &[],
        )
        .unwrap();
        assert!(u.program().is_err());
    }
}

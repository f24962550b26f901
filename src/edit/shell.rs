//! Shell commands that do nothing but start one program: `exec kube-apiserver --a=b 1>>/var/log/x.log 2>&1`.
//!
//! Knows words, quotes and redirections of POSIX sh. Whatever a shell would expand, chain or decide is not
//! understood: there is no answer then, never half of one.

use std::ops::Range;

/// A word of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShellWord {
    /// As the program gets it.
    pub text: String,
    /// Where it stands in the command, with its quotes.
    pub range: Range<usize>,
}

/// The words of a command that starts one program, without a leading `exec` and without redirections.
/// None for every other command.
pub(crate) fn simple_command(script: &str) -> Option<Vec<ShellWord>> {
    let mut words: Vec<ShellWord> = Vec::new();
    let mut at = 0;
    while let Some(begin) = next_word(script, at) {
        let rest = &script[begin..];
        if let Some((length, takes_word)) = redirection(rest) {
            at = begin + length;
            if takes_word {
                let target = next_word(script, at)?;
                at = word(script, target)?.range.end;
            }
            continue;
        }
        let found = word(script, begin)?;
        at = found.range.end;
        words.push(found);
    }
    let quoted = |w: &ShellWord| w.text.len() != w.range.len();
    if words
        .first()
        .is_some_and(|w| w.text == "exec" && !quoted(w))
    {
        words.remove(0);
    }
    // An assignment, a keyword's option, or nothing.
    let first = words.first()?;
    (!first.text.contains('=') && !first.text.starts_with('-')).then_some(words)
}

/// A word as a shell reads it back: as it is where nothing in it has a meaning.
pub(crate) fn encode(word: &str) -> Option<String> {
    if !word.is_empty() && word.chars().all(is_plain) {
        return Some(word.to_owned());
    }
    let quoted = shlex::try_quote(word).ok()?;
    Some(quoted.into_owned())
}

/// Whether a character stands for itself wherever it stands in a word.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c)
}

/// Where the next word begins.
fn next_word(script: &str, from: usize) -> Option<usize> {
    let rest = &script[from..];
    let begin = from + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
    (begin < script.len()).then_some(begin)
}

/// The length of a redirection's operator, and whether a word follows that names its file.
fn redirection(text: &str) -> Option<(usize, bool)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let operator = &text[digits..];
    let duplicates = |sign: &str| {
        let target = operator.strip_prefix(sign)?.bytes();
        let count = target.take_while(u8::is_ascii_digit).count();
        (count > 0).then_some((digits + sign.len() + count, false))
    };
    let named = |sign: &str| {
        operator
            .starts_with(sign)
            .then_some((digits + sign.len(), true))
    };
    duplicates(">&")
        .or_else(|| named(">>"))
        .or_else(|| named(">"))
        .or_else(|| named("<"))
}

/// The word that begins at `begin`.
fn word(script: &str, begin: usize) -> Option<ShellWord> {
    let mut text = String::new();
    let mut at = begin;
    while let Some(c) = script[at..].chars().next() {
        match c {
            ' ' | '\t' | '<' | '>' => break,
            '\'' | '"' => {
                let inner = script[at + 1..].split(c).next()?;
                at += 1 + inner.len();
                let expands = c == '"' && inner.contains(['$', '`', '\\']);
                if !script[at..].starts_with(c) || expands || inner.contains('\n') {
                    return None;
                }
                text.push_str(inner);
            }
            c if is_plain(c) => text.push(c),
            _ => return None,
        }
        at += 1;
    }
    (at > begin).then_some(ShellWord {
        text,
        range: begin..at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Option<Vec<String>> {
        Some(
            simple_command(script)?
                .into_iter()
                .map(|w| w.text)
                .collect(),
        )
    }

    #[test]
    fn a_program_with_flags_and_redirections_is_read() {
        let script = "exec /usr/local/bin/etcd --name=a  --x 'b c'\t--y=\"d e\" 1>>/var/log/etcd.log 2>&1 </dev/null";
        let words = simple_command(script).unwrap();
        let texts: Vec<&str> = words.iter().map(|w| w.text.as_str()).collect();
        assert_eq!(
            texts,
            ["/usr/local/bin/etcd", "--name=a", "--x", "b c", "--y=d e"]
        );
        assert_eq!(&script[words[3].range.clone()], "'b c'");
        assert_eq!(&script[words[4].range.clone()], "--y=\"d e\"");
    }

    #[test]
    fn a_redirection_may_come_first() {
        assert_eq!(texts("> /var/log/x etcd").unwrap(), ["etcd"]);
    }

    #[test]
    fn what_a_shell_would_expand_chain_or_decide_is_not_understood() {
        for script in [
            "",
            "exec",
            "exec -a x etcd",
            "A=b etcd",
            "etcd; true",
            "etcd && true",
            "etcd | tee /x",
            "etcd &",
            "etcd --a=$B",
            "etcd --a=`b`",
            "etcd --a=\"$b\"",
            "etcd --a=b\\ c",
            "etcd --a=*",
            "etcd --a=~",
            "etcd --a='b",
            "etcd #",
            "etcd\netcd",
            "(etcd)",
            "etcd {a,b}",
            "etcd >",
            "etcd >&x",
            "! etcd",
            "etcd --a=[b]",
            "etcd --a=?",
            "etcd 2>&1&",
        ] {
            assert_eq!(texts(script), None, "{script}");
        }
    }

    #[test]
    fn shells_read_what_this_reads() {
        for script in [
            "exec printf %s/ --a=b 'c d'\"e f\" >&1",
            "printf %s/ 1 2 3 4>/dev/null",
            "exec 'printf' --  \"a'b\" 'c\"d'",
        ] {
            let words = simple_command(script).unwrap();
            let same: Vec<String> = words.iter().map(|w| encode(&w.text).unwrap()).collect();
            let run = |script: &str| {
                let output = std::process::Command::new("sh")
                    .args(["-c", script])
                    .output();
                output.unwrap().stdout
            };
            assert_eq!(run(script), run(&same.join(" ")), "{script}");
        }
    }
}

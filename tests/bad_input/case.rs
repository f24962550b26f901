//! A copy of the example, mutated, compiled and judged.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use carota::diagnostic::{Code, Place};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Larger files are compared by their length: they are sparse.
const HASHED: u64 = 8 << 20;

/// The control planes of the example.
pub const CONTROL_PLANES: [&str; 3] = ["cp-1", "cp-2", "cp-3"];

/// A folder with cluster.toml, snapshot and lock.
pub struct Case {
    folder: TempDir,
}

/// Where cases live: in memory where there is plenty, as each is some two hundred small files.
fn scratch() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let plenty = rustix::fs::statvfs(memory).is_ok_and(|s| s.f_bavail * s.f_frsize > 1 << 30);
    if plenty {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

/// The path in a case's folder of a file on a node.
pub fn on(node: &str, path: &str) -> String {
    format!("snapshot/nodes/{node}{path}")
}

impl Case {
    /// The example as it is committed.
    pub fn new() -> Case {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/kubeadm-ha");
        let folder = tempfile::tempdir_in(scratch()).unwrap();
        for name in ["cluster.toml", "carota.lock"] {
            fs::copy(example.join(name), folder.path().join(name)).unwrap();
        }
        copy(&example.join("snapshot"), &folder.path().join("snapshot"));
        Case { folder }
    }

    /// cluster.toml of the example and nothing beside it: for what is refused before anything else is
    /// read.
    pub fn description() -> Case {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/kubeadm-ha");
        let folder = tempfile::tempdir_in(scratch()).unwrap();
        fs::copy(
            example.join("cluster.toml"),
            folder.path().join("cluster.toml"),
        )
        .unwrap();
        Case { folder }
    }

    /// The example without its lock: new CAs are made.
    pub fn unlocked() -> Case {
        Case::new().remove("carota.lock")
    }

    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    pub fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    /// Replaces the first `from` in a text file.
    pub fn edit(self, file: &str, from: &str, to: &str) -> Case {
        let text = self.text(file);
        assert!(text.contains(from), "{file} lacks {from:?}");
        let text = text.replacen(from, to, 1);
        self.put(file, text)
    }

    /// Adds text at the end.
    pub fn append(self, file: &str, more: &str) -> Case {
        let text = self.text(file) + more;
        self.put(file, text)
    }

    /// Writes a file; one of a node is entered into its FILES as the collector would have.
    pub fn put(self, file: &str, content: impl AsRef<[u8]>) -> Case {
        let case = self.put_unlisted(file, &content);
        let Some((node, path)) = of_node(file) else {
            return case;
        };
        let hash = hex(content.as_ref());
        case.change_files(&node, &path, |line| match line {
            Some(line) => {
                let mut columns: Vec<&str> = line.split('\t').collect();
                columns[1] = &hash;
                Some(columns.join("\t"))
            }
            None => Some(format!("f\t{hash}\t0644\t0:0\t{path}")),
        })
    }

    /// Writes a file and tells nobody.
    pub fn put_unlisted(self, file: &str, content: impl AsRef<[u8]>) -> Case {
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Makes a file of 100 MB that takes no space.
    pub fn put_huge(self, file: &str) -> Case {
        let case = self.put(file, "");
        let opened = fs::File::options().write(true).open(case.path(file));
        opened.unwrap().set_len(100_000_000).unwrap();
        case
    }

    pub fn link(self, file: &str, target: &str) -> Case {
        symlink(target, self.path(file)).unwrap();
        self
    }

    /// Removes a file or folder, and its line in FILES.
    pub fn remove(self, file: &str) -> Case {
        let path = self.path(file);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
        match of_node(file) {
            Some((node, path)) => self.change_files(&node, &path, |_| None),
            None => self,
        }
    }

    /// Replaces, adds or removes the line of FILES that ends in `path`.
    pub fn change_files(
        self,
        node: &str,
        path: &str,
        change: impl FnOnce(Option<&str>) -> Option<String>,
    ) -> Case {
        let table = format!("snapshot/nodes/{node}/FILES");
        let text = self.text(&table);
        let end = format!("\t{path}");
        let old = text.lines().find(|line| line.ends_with(&end));
        let mut lines: Vec<String> = text
            .lines()
            .filter(|line| Some(*line) != old)
            .map(str::to_owned)
            .collect();
        lines.extend(change(old));
        self.put_unlisted(&table, lines.join("\n") + "\n")
    }

    /// The same mutation on each control plane.
    pub fn on_control_planes(self, mutate: impl Fn(Case, &str) -> Case) -> Case {
        CONTROL_PLANES
            .iter()
            .fold(self, |case, node| mutate(case, node))
    }

    pub fn compile(&self) -> Output {
        self.run(&mut Command::new(assert_cmd::cargo::cargo_bin!("carota")))
    }

    /// Runs a command line that ends as that of a compile does.
    pub fn run(&self, command: &mut Command) -> Output {
        let command = command.args(["compile", "cluster.toml"]);
        command
            .current_dir(self.folder.path())
            .env_remove("CLICOLOR_FORCE")
            .output()
            .unwrap()
    }

    /// Compiles, and must succeed. Gives what was said.
    pub fn compiles(&self) -> String {
        let output = self.compile();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        said
    }

    /// Compiles, and must be refused at the place of `needle` in `file`; an empty needle is its
    /// start. Gives what was said.
    pub fn refused(&self, code: Code, file: &str, needle: &str) -> String {
        let said = self.refused_with(code);
        let expected = if needle.is_empty() {
            Place::start_of(file)
        } else {
            let text = String::from_utf8_lossy(&fs::read(self.path(file)).unwrap()).into_owned();
            let at = text.find(needle).expect("the needle is in the file");
            let line_start = text[..at].rfind('\n').map_or(0, |i| i + 1);
            Place {
                file: file.to_owned(),
                line: text[..at].split('\n').count(),
                column: text[line_start..at].chars().count() + 1,
            }
        };
        assert_eq!(place_in(&said), expected.to_string(), "{said}");
        said
    }

    /// The same where only the line is known: it contains `fragment`.
    pub fn refused_on_line(&self, code: Code, file: &str, fragment: &str) -> String {
        let said = self.refused_with(code);
        let place = place_in(&said);
        let line = place
            .strip_prefix(&format!("{file}:"))
            .and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
        let line = line.unwrap_or_else(|| panic!("no place in {file}: {said}"));
        let text = self.text(file);
        let found = text.lines().nth(line - 1).unwrap_or_default();
        assert!(found.contains(fragment), "{found:?}\n{said}");
        said
    }

    /// Compiles, and must be refused with one error of this code and nothing written.
    pub fn refused_with(&self, code: Code) -> String {
        let before = self.tree();
        let output = self.compile();
        let said = judged(&output, code);
        assert_eq!(self.tree(), before, "something was written");
        said
    }

    /// Every file, folder and link with what it holds.
    pub fn tree(&self) -> BTreeMap<PathBuf, String> {
        tree(self.folder.path())
    }
}

/// What was said, by an output that must be one error of this code.
pub fn judged(output: &Output, code: Code) -> String {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.starts_with(&format!("error[{code}]: ")), "{said}");
    let errors = said.lines().filter(|line| line.starts_with("error"));
    assert_eq!(errors.count(), 1, "{said}");
    assert_eq!(said.matches("= help: ").count(), 1, "{said}");
    assert!(
        !said.chars().any(|c| c.is_control() && c != '\n'),
        "{said:?}"
    );
    assert!(output.stdout.is_empty());
    said
}

/// The place that a message names.
pub fn place_in(said: &str) -> &str {
    let line = said
        .lines()
        .find_map(|l| l.trim_start().strip_prefix("--> "));
    line.unwrap_or_else(|| panic!("no place: {said}"))
}

pub fn tree(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        let what = if meta.is_dir() {
            out.extend(tree(&path));
            "folder".to_owned()
        } else if meta.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if meta.len() > HASHED {
            format!("{} bytes", meta.len())
        } else {
            hex(&fs::read(&path).unwrap())
        };
        out.insert(path, what);
    }
    out
}

/// The node and the path on it, of a file of a node other than FILES.
fn of_node(file: &str) -> Option<(String, String)> {
    let (node, path) = file.strip_prefix("snapshot/nodes/")?.split_once('/')?;
    (path != "FILES").then(|| (node.to_owned(), format!("/{path}")))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut out, b| {
            let _ = write!(out, "{b:02x}");
            out
        })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

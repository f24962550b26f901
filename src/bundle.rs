//! What is carried to a node: one tar with what it needs of the plan and its private files alone, with sums of
//! its own and a README for the person who carries it. The same inputs give the same bytes. It reads
//! plan/ and secrets/ as they lie there, and knows nothing of how they were made.
//!
//! Left out is what the scripts do not look for on a node: what is for reviewers alone, and the files of other nodes,
//! which thousands of nodes would have to carry for each other.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use der::zeroize::Zeroizing;

use crate::diagnostic::{Code, Diagnostic, Place, Result};
use crate::digest::sha256;
use crate::input::why;

/// A bundle: what it is to be called, and its bytes, which hold private keys.
pub struct Bundle {
    /// `carota-<id>-<node>.tar`.
    pub name: String,
    /// The tar.
    pub bytes: Zeroizing<Vec<u8>>,
    /// How many private files are in it.
    pub private_files: usize,
}

/// A plan that was read and found whole.
pub struct Source {
    id: String,
    digest: String,
    files: BTreeMap<String, File>,
    /// The sets that each node is in, by phase.
    nodes: BTreeMap<String, Sets>,
    /// By phase and set: the private files that the scripts want there.
    private: BTreeMap<(String, String), Vec<String>>,
    secrets: PathBuf,
}

/// By phase, the sets that a node is in.
type Sets = BTreeMap<String, BTreeSet<String>>;

/// A file of a bundle.
struct File {
    bytes: Vec<u8>,
    mode: u32,
    sum: String,
}

impl Source {
    /// Reads the plan beside a cluster.toml. Every file must be the one in SHA256SUMS, and there may be
    /// no other.
    pub fn read(folder: &Path) -> Result<Source> {
        let plan = folder.join("plan");
        let mut files = BTreeMap::new();
        read_below(&plan, "", &mut files)
            .map_err(|e| unusable(format!("the plan cannot be read: {}", why(&e)), "plan"))?;
        let sums = text_of(&files, "SHA256SUMS")?.to_owned();
        let mut unlisted: BTreeSet<&str> = files.keys().map(String::as_str).collect();
        unlisted.remove("SHA256SUMS");
        for line in sums.lines() {
            let Some((hash, path)) = line.split_once("  ./") else {
                return Err(unusable("a line is not a sum".into(), "plan/SHA256SUMS"));
            };
            if files.get(path).is_none_or(|f| f.sum != hash) {
                return Err(unusable(
                    "the file is not the one that was compiled".into(),
                    &format!("plan/{path}"),
                ));
            }
            unlisted.remove(path);
        }
        if let Some(path) = unlisted.first() {
            return Err(unusable(
                "the file is not part of the plan".into(),
                &format!("plan/{path}"),
            ));
        }
        let phase = text_of(&files, "00-preflight/PHASE")?;
        let id = phase.lines().find_map(|l| l.strip_prefix("id\t"));
        let mut nodes: BTreeMap<String, Sets> = BTreeMap::new();
        for (phase, row) in rows(&files, "NODES") {
            if let Some((set, node)) = row.split_once('\t') {
                let of_node = nodes.entry(node.to_owned()).or_default();
                let of_phase = of_node.entry(phase.to_owned()).or_default();
                of_phase.insert(set.to_owned());
            }
        }
        let mut private: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for (phase, row) in rows(&files, "CHANGES") {
            let columns: Vec<&str> = row.split('\t').collect();
            if let [_, set, "write", path, .., "new"] = columns[..] {
                let of_set = private.entry((phase.to_owned(), set.to_owned()));
                of_set.or_default().push(format!("{phase}{path}"));
            }
        }
        Ok(Source {
            id: id.unwrap_or("rotation").to_owned(),
            digest: sha256(&sums),
            files,
            nodes,
            private,
            secrets: folder.join("secrets/nodes"),
        })
    }

    /// The nodes that the plan has anything for, in order.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The sets of a node.
    fn sets(&self, node: &str) -> Result<&Sets> {
        self.nodes.get(node).ok_or_else(|| {
            let known: Vec<&str> = self.nodes().collect();
            Diagnostic::new(
                Code::TomlValue,
                format!("the plan has nothing for a node named `{node}`"),
                format!("its nodes are {}", known.join(", ")),
            )
        })
    }

    /// The private files of a node, by their paths in the bundle.
    fn private_files(&self, node: &str) -> Result<BTreeMap<String, Zeroizing<Vec<u8>>>> {
        let mut out = BTreeMap::new();
        for (phase, sets) in self.sets(node)? {
            let of_sets = sets
                .iter()
                .filter_map(|set| self.private.get(&(phase.clone(), set.clone())));
            for path in of_sets.flatten() {
                let at = self.secrets.join(node).join(path);
                let path = format!("secrets/nodes/{node}/{path}");
                let bytes = fs::read(&at).map_err(|e| {
                    Diagnostic::new(
                        Code::KeyringMissing,
                        format!("a private file of {node} cannot be read: {}", why(&e)),
                        "bundle where the keyring is: `carota compile` writes secrets/ there",
                    )
                    .at(Place::start_of(&path))
                })?;
                out.insert(path, Zeroizing::new(bytes));
            }
        }
        Ok(out)
    }

    /// Whether a node's bundle can be made.
    pub fn check(&self, node: &str) -> Result<()> {
        self.private_files(node).map(drop)
    }

    /// The bundle of a node.
    pub fn bundle(&self, node: &str) -> Result<Bundle> {
        let (private, sets) = (self.private_files(node)?, self.sets(node)?);
        let name = format!("carota-{}-{node}", self.id);
        let readme = self.readme(node, private.len());
        let mut files: BTreeMap<String, (&[u8], u32)> = BTreeMap::new();
        let mut sums: BTreeMap<String, Cow<'_, str>> = BTreeMap::new();
        for (path, file) in self.files.iter().filter(|(path, _)| needs(sets, path)) {
            files.insert(format!("plan/{path}"), (file.bytes.as_slice(), file.mode));
            sums.insert(format!("plan/{path}"), Cow::Borrowed(&file.sum));
        }
        for (path, bytes) in &private {
            files.insert(path.clone(), (bytes.as_slice(), 0o600));
            sums.insert(path.clone(), sha256(bytes.as_slice()).into());
        }
        files.insert("README".into(), (readme.as_bytes(), 0o644));
        sums.insert("README".into(), sha256(&readme).into());
        let sums = sums.iter().map(|(path, sum)| format!("{sum}  ./{path}\n"));
        let sums: String = sums.collect();
        files.insert("SHA256SUMS".into(), (sums.as_bytes(), 0o644));
        Ok(Bundle {
            bytes: tar(&name, &files),
            name: format!("{name}.tar"),
            private_files: private.len(),
        })
    }

    fn readme(&self, node: &str, private: usize) -> String {
        let (id, digest) = (&self.id, &self.digest);
        let keys = match private {
            0 => "It holds no private key.".to_owned(),
            n => format!(
                "It holds private keys ({n} files below secrets/) of {node} and of no other node.\n\
                 Whoever has them can act as {node}, and as a CA whose key is among them: carry it\n\
                 encrypted, keep no copy, and remove it from the node when the rotation is done."
            ),
        };
        format!(
            "Rotation {id}: what is carried to the node {node}, and only there.\n\n\
             {keys}\n\n\
             On {node}, as root, where this was unpacked:\n\n\
             \x20 1. sha256sum -c SHA256SUMS         nothing was lost or changed on the way\n\
             \x20 2. sha256sum plan/SHA256SUMS       compare with the digest that was approved; here it is\n\
             \x20    {digest}\n\
             \x20    It lists report.html, plan.json and the files of other nodes too, which are not\n\
             \x20    brought here; the scripts compare the rest with it.\n\
             \x20 3. read plan/README.md             it names the phases, their order and their gates\n\
             \x20 4. of each phase, in its turn, the commands in its README, with the --ack that it names;\n\
             \x20    --digest APPROVED makes a script compare first:\n\
             \x20      sh plan/NN-name/apply.sh --digest APPROVED --dry-run\n\
             \x20      sh plan/NN-name/apply.sh --digest APPROVED\n\
             \x20      sh plan/NN-name/verify.sh\n\
             \x20    and the way back: sh plan/NN-name/rollback.sh. What a phase does in the cluster is\n\
             \x20    run once, where kubectl works, with --cluster; a control plane's bundle has it too.\n\n\
             sh plan/NN-name/apply.sh --status tells which phases are done here. The scripts need a POSIX\n\
             shell, coreutils, awk, sed and find; everything they say goes to /var/lib/carota as well.\n"
        )
    }
}

/// Whether a node in these sets needs a file of the plan: not what is for reviewers alone, and not what is of other
/// sets. The scripts look for the same (`check_plan` in templates/lib/main.sh).
fn needs(sets: &Sets, path: &str) -> bool {
    if matches!(path, "plan.json" | "report.html") {
        return false;
    }
    let Some((phase, rest)) = path.split_once("/nodes/") else {
        return true;
    };
    let set = rest.split('/').next().unwrap_or_default();
    sets.get(phase).is_some_and(|mine| mine.contains(set))
}

/// The rows of every phase's table of a name, each with the phase's folder.
fn rows<'f>(
    files: &'f BTreeMap<String, File>,
    name: &str,
) -> impl Iterator<Item = (&'f str, &'f str)> {
    let tables = files.iter().filter_map(move |(path, file)| {
        let phase = path.strip_suffix(name)?.strip_suffix('/')?;
        Some((phase, std::str::from_utf8(&file.bytes).ok()?))
    });
    tables.flat_map(|(phase, text)| text.lines().map(move |row| (phase, row)))
}

fn unusable(reason: String, file: &str) -> Diagnostic {
    Diagnostic::new(
        Code::OutputForeign,
        reason,
        "compile again, and have the plan approved that comes out",
    )
    .at(Place::start_of(file))
}

fn text_of<'a>(files: &'a BTreeMap<String, File>, path: &str) -> Result<&'a str> {
    files
        .get(path)
        .and_then(|f| std::str::from_utf8(&f.bytes).ok())
        .ok_or_else(|| unusable("the file is missing".into(), &format!("plan/{path}")))
}

/// Every file below a folder by its relative path. A link is none.
fn read_below(folder: &Path, below: &str, out: &mut BTreeMap<String, File>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let name = name.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        let path = format!("{below}{name}");
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_below(&entry.path(), &format!("{path}/"), out)?;
        } else if kind.is_file() {
            let executable = entry.metadata()?.permissions().mode() & 0o111 != 0;
            let mode = if executable { 0o755 } else { 0o644 };
            let bytes = fs::read(entry.path())?;
            let sum = sha256(&bytes);
            out.insert(path, File { bytes, mode, sum });
        } else {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

const BLOCK: usize = 512;

/// A tar of files below one folder: sorted, folders first, of nobody's and of no time.
fn tar(top: &str, files: &BTreeMap<String, (&[u8], u32)>) -> Zeroizing<Vec<u8>> {
    let folders: BTreeSet<String> = files
        .keys()
        .flat_map(|path| {
            path.match_indices('/')
                .map(|(at, _)| path[..=at].to_owned())
        })
        .chain([String::new()])
        .collect();
    // Room for all of it: no copy with keys is left behind where the vector grew.
    let size: usize = files.values().map(|(b, _)| b.len() + 4 * BLOCK).sum();
    let mut out = Vec::with_capacity(size + (folders.len() + 1) * 4 * BLOCK);
    for folder in folders {
        let mode = if folder.starts_with("secrets/") {
            0o700
        } else {
            0o755
        };
        member(&mut out, &format!("{top}/{folder}"), mode, b'5', &[]);
    }
    for (path, (bytes, mode)) in files {
        member(&mut out, &format!("{top}/{path}"), *mode, b'0', bytes);
    }
    out.resize(out.len() + 2 * BLOCK, 0);
    Zeroizing::new(out)
}

/// One member. A name that the header has no room for goes before it, as GNU tar writes it; busybox and
/// bsdtar read that too.
fn member(out: &mut Vec<u8>, path: &str, mode: u32, kind: u8, bytes: &[u8]) {
    let (prefix, name) = split(path).unwrap_or_else(|| {
        header(out, ("", "././@LongLink"), 0o644, b'L', path.len() + 1);
        out.extend_from_slice(path.as_bytes());
        out.push(0);
        fill(out);
        ("", first_bytes(path, 100))
    });
    header(out, (prefix, name), mode, kind, bytes.len());
    out.extend_from_slice(bytes);
    fill(out);
}

/// A path as the header has it: up to 155 bytes, a slash between, up to 100 bytes.
fn split(path: &str) -> Option<(&str, &str)> {
    if path.len() <= 100 {
        return Some(("", path));
    }
    path.match_indices('/')
        .map(|(at, _)| (&path[..at], &path[at + 1..]))
        .find(|(prefix, name)| prefix.len() <= 155 && (1..=100).contains(&name.len()))
}

fn first_bytes(text: &str, most: usize) -> &str {
    let mut end = most.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn header(out: &mut Vec<u8>, (prefix, name): (&str, &str), mode: u32, kind: u8, size: usize) {
    let mut block = [0_u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    put(345, prefix.as_bytes());
    let sum: u32 = block.iter().copied().map(u32::from).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&block);
}

/// Members begin at whole blocks.
fn fill(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_where_the_header_has_room() {
        let (short, deep) = ("a".repeat(100), format!("{}/b", "a".repeat(100)));
        assert_eq!(split(&short), Some(("", &*short)));
        assert_eq!(split(&deep), Some((&*short, "b")));
        assert_eq!(split(&"a".repeat(101)), None);
        assert_eq!(split(&format!("{}/b", "a".repeat(156))), None);
        assert_eq!(split(&format!("{}/", "a".repeat(100))), None);
    }
}
